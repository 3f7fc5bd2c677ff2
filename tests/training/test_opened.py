from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.onnx_session import open_onnx
from models.repository import RepositoryError
from models.spec import ModelSpec
from models.tensors import Array, Signature, Tensors, TensorSpec
from tests import toys as published
from tests.training import kinds, toys
from training.checkpoint import CheckpointError
from training.opened import Places, SubjectError, answering, find

IMAGES = torch.from_numpy(published.images(20))


def spec() -> ModelSpec:
    """Return the toy that is published here as a model of this tree."""
    names = Signature(
        inputs=(TensorSpec("image", "UINT8", (4, 4)),),
        outputs=(TensorSpec("probabilities", "FP32", (3,)), TensorSpec("class", "INT64", ())),
        max_batch_size=8,
    )
    return replace(toys.spec(), signature=names, task=replace(toys.spec().task, output="probabilities"))


def places(folder: Path, format: str | None = None) -> Places:
    return Places(folder / "checkpoints", folder / "models", format)


@pytest.mark.parametrize("format", ["onnx", "torchscript", "exported_program"])
def test_a_version_answers_through_its_runtime_in_requests_that_it_takes(format: str, tmp_path: Path) -> None:
    version = published.publish(tmp_path / "models", formats=[format], max_batch_size=3)
    subject = find(spec(), "1", places(tmp_path))
    assert (subject.title, subject.digest) == (f"toy/1 ({format})", version.digest)
    expected = published.reference(IMAGES.numpy())["probabilities"]
    np.testing.assert_allclose(subject.predict({"image": IMAGES}).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_the_words_that_name_a_subject(tmp_path: Path) -> None:
    root = tmp_path / "models"
    first, second = (published.publish(root, seed=seed, formats=["onnx", "torchscript"]) for seed in (0, 1))
    own = toys.spec()
    saved = kinds.save(own, tmp_path / "checkpoints" / "toy" / "2026")
    newer = kinds.save(own, tmp_path / "checkpoints" / "toy" / "2027")
    found = {word: find(spec(), word, places(tmp_path)) for word in ("1", "2", str(root / "toy" / "1"), str(root / "toy"))}
    digests = [subject.digest for subject in found.values()]
    assert digests == [first.digest, second.digest, first.digest, second.digest]
    assert {subject.format for subject in found.values()} == {"onnx"}
    assert find(spec(), "1", places(tmp_path, "torchscript")).format == "torchscript"
    assert find(own, None, places(tmp_path)).name == str(newer.path)
    assert find(own, str(saved.path), places(tmp_path)).name == str(saved.path)


def test_a_checkpoint_answers_as_it_is_served(tmp_path: Path) -> None:
    own = toys.spec()
    network = own.build().eval()
    kinds.save(own, tmp_path / "checkpoints" / "toy" / "2026", network)
    found = find(own, None, places(tmp_path)).predict({"image": IMAGES})
    torch.testing.assert_close(found, network(IMAGES).softmax(-1))


def test_what_cannot_be_evaluated_is_told_in_one_line(tmp_path: Path) -> None:
    root = tmp_path / "models"
    published.publish(root)
    published.publish(root, "other")
    (tmp_path / "empty").mkdir()
    kinds.save(kinds.regression(), tmp_path / "gems")
    toy, nobody = spec(), replace(spec(), name="nobody")
    cases: list[tuple[ModelSpec, str, str | None, str]] = [
        (toy, "2", None, "the versions 1"),
        (toy, "0", None, "the versions 1"),
        (nobody, "1", None, "no versions there"),
        (toy, str(tmp_path / "absent"), None, "found no such folder"),
        (toy, str(tmp_path / "empty"), None, "found neither"),
        (toy, str(tmp_path / "gems"), None, "expected a checkpoint of 'toy', found one of 'gems'"),
        (toy, str(root / "other" / "1"), None, "expected a version of 'toy', found one of 'other'"),
        (toy, "1", "torchscript", "toy/1: format: expected one of onnx, found 'torchscript'"),
        (toys.spec(), "1", None, "toy/1: outputs: expected scores FP32, which the task looks at, found prob"),
        (replace(toy, signature=replace(toy.signature, inputs=kinds.regression().signature.inputs)), "1",
         None, "toy/1: inputs: expected numbers FP32, kinds INT64, as of the model's data, found image UINT8"),
    ]  # fmt: skip
    for one, word, format, message in cases:
        with pytest.raises((SubjectError, RepositoryError)) as error:
            find(one, word, places(tmp_path, format))
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no checkpoint of 'toy' in"):
        find(toy, None, places(tmp_path))


def test_a_damaged_version_is_not_evaluated(tmp_path: Path) -> None:
    version = published.publish(tmp_path / "models")
    with (version.path / "model.onnx").open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(RepositoryError, match=r"model\.onnx: expected sha256 .* altered"):
        find(spec(), "1", places(tmp_path))


def test_rows_that_look_at_each_other_are_one_request(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(published.onnx_model(), path)
    session, seen = open_onnx(path), []

    def run(inputs: Tensors) -> dict[str, Array]:
        seen.append(inputs["image"].shape)
        return session.run(inputs)

    whole = Signature(
        (TensorSpec("image", "UINT8", (None, 4, 4)),), (TensorSpec("probabilities", "FP32", (None, 3)),), max_batch_size=0
    )
    found = answering("toy", run, whole, "probabilities")({"image": IMAGES})
    assert seen == [(20, 4, 4)]
    np.testing.assert_allclose(found.numpy(), published.reference(IMAGES.numpy())["probabilities"], rtol=1e-4, atol=1e-6)


def test_a_model_without_an_axis_for_samples_is_asked_about_one_by_one() -> None:
    def run(inputs: Tensors) -> dict[str, Array]:
        assert inputs["image"].shape == (4, 4)
        return {"mean": np.array(inputs["image"].mean(), np.float32)}

    alone = Signature((TensorSpec("image", "UINT8", (4, 4)),), (TensorSpec("mean", "FP32", ()),), max_batch_size=0)
    found = answering("toy", run, alone, "mean")({"image": IMAGES})
    torch.testing.assert_close(found, IMAGES.float().mean((1, 2)))


def test_a_runtime_that_fails_and_data_that_do_not_fit_are_one_line() -> None:
    def broken(inputs: Tensors) -> dict[str, Array]:
        raise RuntimeError("out of luck\nand more")

    signature = published.signature()
    with pytest.raises(SubjectError, match=r"^toy: cannot be run on the test split: RuntimeError: out of luck$"):
        answering("toy", broken, signature, "probabilities")({"image": IMAGES})
    with pytest.raises(SubjectError, match=r"toy: the test split does not fit it: image: expected shape \[-1, 4, 4\]"):
        answering("toy", broken, signature, "probabilities")({"image": IMAGES[:, :3]})
