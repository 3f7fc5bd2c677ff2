"""`export_model`, and what a manifest says of a model that nobody here has trained."""

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export import export_model
from export.exporter import ExportError, Options
from export.foreign_origin import state_digest
from models.repository import Repository
from tests.export.modules import numbers
from tests.export.test_foreign_module import Reader, texts


def test_a_module_is_published_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    module = Reader().train()
    free = {"tokens": [1], "mask": [1]}
    formats = ("onnx", "torchscript", "exported_program")
    publication = export_model(
        module, texts(), name="reader", repository=tmp_path, formats=formats, dynamic=free, options=Options(opset=18)
    )
    assert publication.passed
    assert module.training
    version = Repository(tmp_path).open("reader", 1)
    assert [artifact.format for artifact in version.manifest.artifacts] == list(formats)
    origin = version.manifest.origin
    assert (origin.model, origin.data, origin.scores) == ("reader", "unknown", {})
    assert origin.recipe["module"] == "tests.export.test_foreign_module.Reader"
    options = origin.recipe["options"]
    assert isinstance(options, dict)
    assert options["opset"] == 18
    assert origin.libraries["torch"] == torch.__version__
    assert version.manifest.checkpoint == state_digest(module)
    session = onnxruntime.InferenceSession(version.path / "model.onnx", providers=["CPUExecutionProvider"])
    asked = texts(rows=3, length=5)
    module.eval()
    with torch.no_grad():
        expected = module(**{name: torch.from_numpy(array) for name, array in asked.items()})
    np.testing.assert_allclose(session.run(["logits"], asked)[0], expected["logits"].numpy(), atol=1e-5)


def test_a_dry_run_publishes_nothing(tmp_path: Path) -> None:
    publication = export_model(
        nn.Linear(3, 2), {"input": numbers(5, 3)}, name="one", repository=tmp_path / "models", dry_run=True
    )
    assert publication.passed
    assert publication.version is None
    assert not (tmp_path / "models").exists()


def test_weights_may_be_in_a_file(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "weights.pt")
    given = {"input": numbers(5, 3)}
    publication = export_model(
        nn.Linear(3, 2),
        given,
        name="one",
        repository=tmp_path / "models",
        weights=tmp_path / "weights.pt",
        formats=["torchscript"],
    )
    assert publication.version is not None
    assert publication.version.manifest.origin.recipe["weights"] == "weights.pt"


def test_the_digest_of_a_state_tells_any_two_apart() -> None:
    def digest(**tensors: Tensor) -> str:
        module = nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return state_digest(module)

    same = digest(a=torch.ones(2), b=torch.tensor(3))
    assert digest(b=torch.tensor(3), a=torch.ones(2)) == same
    others = [
        digest(a=torch.ones(2), c=torch.tensor(3)),
        digest(a=torch.ones(1, 2), b=torch.tensor(3)),
        digest(a=torch.ones(2).bfloat16(), b=torch.tensor(3)),
        digest(a=torch.tensor([1, 2.0]), b=torch.tensor(3)),
        digest(a=torch.ones(2, 1).T[0], b=torch.tensor(3.0)),
    ]
    assert len({same, *others}) == 6


def test_another_attribute_of_the_package_is_missing() -> None:
    import export

    with pytest.raises(AttributeError, match="has no attribute 'export_modle'"):
        _ = export.export_modle


def test_a_format_that_fails_keeps_the_others_from_being_published_but_not_from_being_tried(tmp_path: Path) -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if bool(x.isnan().sum() >= 0) else x - 1  # always the first, which only a trace believes

    publication = export_model(
        Decides(), {"x": numbers(9, 3)}, name="one", repository=tmp_path, formats=["onnx", "torchscript"]
    )
    assert [result.passed for result in publication.results] == [False, True]
    assert publication.version is None
    assert Repository(tmp_path).versions("one") == []


def test_importing_export_brings_no_torch() -> None:
    import sys

    program = "import sys, export, export.verify; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_a_wrong_name_of_a_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from models.repository import RepositoryError

    with pytest.raises((ExportError, RepositoryError)):
        export_model(nn.Linear(3, 2), {"input": numbers(5, 3)}, name="../one", repository=tmp_path / "models")
    assert not list(tmp_path.rglob("*.onnx"))
