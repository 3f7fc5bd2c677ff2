"""A model whose rows look at each other is published without a batch axis; one that never had one, as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export import golden, parity, reference, verify
from export.exporter import ExportError, ExportSource
from export.free_axes import proofs
from export.publish import Publication, publish
from export.subject import Subject
from export.unbatched import without_batch_axis
from models.repository import Repository
from models.tensors import Array, Signature, Tensors, TensorSpec
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from serving.request import InferRequest
from tests.export import checkpoints, modules

Y = TensorSpec("y", "FP32", (3,))


def centred() -> ExportSource:
    """Return a model that takes the mean of all rows away from each."""
    return modules.of(lambda x: (x - x.mean(0), x.sum(1)), Y, TensorSpec("sum", "FP32", ()), samples=modules.numbers(60, 3))


def published(source: ExportSource, folder: Path, *formats: str) -> Publication:
    subject = Subject("toy", source, None, "c" * 64, checkpoints.ORIGIN)
    return publish(subject, Repository(folder), formats or modules.EQUAL)


def answer(publication: Publication, format: str, inputs: dict[str, Array]) -> dict[str, Array]:
    """Open the version as a server does, golden replay included, and ask it."""
    assert publication.version is not None
    served = ServedVersion.open(Servable.published(publication.version), ModelConfig(format=format), Metrics())
    try:
        served.introduce()
        return dict(served.submit(InferRequest("toy", None, inputs)).result(timeout=60).outputs)
    finally:
        served.close(drain_seconds=60)


def test_rows_become_requests_of_several() -> None:
    source = without_batch_axis(centred())
    assert source.signature.max_batch_size == 0
    assert [spec.shape for spec in (*source.signature.inputs, *source.signature.outputs)] == [(None, 3), (None, 3), (None,)]
    assert source.samples["x"].shape == (8, 7, 3)
    np.testing.assert_array_equal(source.samples["x"][1, 0], centred().samples["x"][7])


@pytest.mark.parametrize("format", modules.EQUAL)
def test_a_model_whose_rows_look_at_each_other_is_served_request_by_request(format: str, tmp_path: Path) -> None:
    publication = published(centred(), tmp_path, format)
    assert [result.faults for result in publication.results] == [()]
    (note,) = publication.notes
    assert note.startswith("max_batch_size 0: requests run alone, as y: rows are not independent: sample ")
    assert publication.version is not None
    manifest = publication.version.manifest
    assert manifest.signature == without_batch_axis(centred()).signature
    assert manifest.artifacts[0].parity.batch_sizes == (0,)
    assert manifest.golden.rows == 1
    assert all(check.passed for check in verify.verify(publication.version))
    for rows in (1, 2, 11):
        x = modules.numbers(rows, 3, seed=rows)
        np.testing.assert_allclose(answer(publication, format, {"x": x})["y"], x - x.mean(0), atol=1e-6)


def test_the_first_axis_is_proved_at_several_lengths() -> None:
    source = without_batch_axis(centred())
    assert [(proof.axes, proof.length) for proof in proofs(source)] == [
        ("input 'x' axis 0", 1), ("input 'x' axis 0", 3), ("input 'x' axis 0", 15),
    ]  # fmt: skip
    for proof in proofs(source):
        assert (
            proof.fault("fake", lambda inputs: {"y": inputs["x"] - inputs["x"].mean(0), "sum": inputs["x"].sum(1)}) is None
        )

        def of_seven_rows(inputs: Tensors) -> dict[str, Array]:
            raise RuntimeError("expected 7")

        assert "cannot run on single requests: RuntimeError: expected 7" in str(proof.fault("fake", of_seven_rows))


@pytest.mark.parametrize("format", modules.EQUAL)
def test_a_model_without_a_batch_axis_is_published_as_it_is(format: str, tmp_path: Path) -> None:
    source = modules.stateful()
    publication = published(source, tmp_path, format)
    assert [result.faults for result in publication.results] == [()]
    assert publication.notes == ()
    inputs = {name: array[3, ...] for name, array in source.samples.items()}
    found = answer(publication, format, inputs)
    with torch.inference_mode():
        states, last = source.module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
    np.testing.assert_allclose(found["states"], states.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["next"], last.numpy(), atol=1e-6)


def test_a_golden_sample_is_one_whole_request(tmp_path: Path) -> None:
    source = modules.stateful()
    assert golden.write(source, reference.measure(source), tmp_path).rows == 1
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays}
    assert shapes == {
        "input:sound": (5, 3), "input:state": (1, 6), "input:gain": (), "output:states": (5, 6), "output:next": (1, 6),
    }  # fmt: skip


def test_a_wrong_request_is_named_by_its_place() -> None:
    source = modules.stateful()
    measured = reference.measure(source)
    wrong = source.samples["gain"][4]

    def run(inputs: Tensors) -> dict[str, Array]:
        with torch.inference_mode():
            states, last = source.module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
        return {"states": states.numpy() + (inputs["gain"] == wrong), "next": last.numpy()}

    (fault,) = parity.compare("fake", run, measured, sizes=parity.batch_sizes(source.signature)).faults
    assert fault.startswith("states: 30 of 360 values are off; worst: sample 4 in single requests: expected ")


def test_content_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    class Whitened(modules.Classifier):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward((image - image.float().mean(0)).abs())

    spec = checkpoints.spec()
    source = modules.classifier(rows=50)
    subject = Subject("toy", replace(source, module=Whitened().eval()), spec.content, "c" * 64, checkpoints.ORIGIN)
    publication = publish(subject, Repository(tmp_path), ["torchscript"])
    assert publication.version is not None
    assert publication.version.manifest.content is None
    assert publication.notes[1].startswith("no content: ")


def of_as_many_as_are_positive(x: Tensor) -> tuple[Tensor]:
    return (x[x > 0],)


def test_outputs_of_another_shape_for_each_request_are_one_line() -> None:
    source = modules.of(of_as_many_as_are_positive, TensorSpec("y", "FP32", (None,)), samples=modules.numbers(10, 3))
    signature = Signature(source.signature.inputs, source.signature.outputs, 0)
    with pytest.raises(ExportError, match=r"^the eager model gives outputs of another shape for each request: [^\n]*$"):
        reference.measure(ExportSource(source.module, signature, source.samples))
