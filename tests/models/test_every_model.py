"""The contract of a model folder. It runs on every one there is, because the folder exists; no model is named here."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from models import spec as specs
from models.content import LabelContent
from models.spec import Datasets, ModelSpec
from models.tasks import Classification, Novelty, Regression
from models.tensors import Array, rows_of
from training.scores import Score
from training.train import train

FOLDERS = Path(specs.__file__).parent


@pytest.fixture(scope="module", params=specs.available())
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    name: str = request.param
    return specs.find(name)


@pytest.fixture(scope="module")
def datasets(spec: ModelSpec) -> Datasets:
    return spec.datasets(None)


def splits(datasets: Datasets) -> dict[str, Dataset[tuple[dict[str, Tensor], Tensor]]]:
    return {"train": datasets.train, "validation": datasets.validation, "test": datasets.test}


def size(dataset: Dataset[tuple[dict[str, Tensor], Tensor]]) -> int:
    return len(dataset)  # type: ignore[arg-type]  # torch's Dataset does not promise a length


def fingerprint(inputs: dict[str, Tensor]) -> bytes:
    return b"".join(inputs[name].numpy().tobytes() for name in sorted(inputs))


def tensors(inputs: dict[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def test_it_is_found_by_the_name_of_its_folder(spec: ModelSpec) -> None:
    assert (FOLDERS / spec.name / "__init__.py").is_file()
    assert spec.name in specs.available()


def test_its_folder_holds_a_card_and_a_configuration(spec: ModelSpec) -> None:
    card = (FOLDERS / spec.name / "README.md").read_text()
    for subject in ("Purpose", "Data", "Licence", "Scores", "Limits"):
        assert re.search(rf"^#+ .*{subject}", card, re.MULTILINE | re.IGNORECASE), f"the card has no section {subject!r}"
    tomllib.loads((FOLDERS / spec.name / "config.toml").read_text())


def test_its_content_fits_its_signature(spec: ModelSpec) -> None:
    spec.content.check(spec.signature)
    if isinstance(spec.task, Classification):
        assert isinstance(spec.content.output, LabelContent)
        assert len(spec.content.output.labels) == spec.task.classes


def test_its_data_are_the_same_on_every_call(spec: ModelSpec, datasets: Datasets) -> None:
    assert re.fullmatch("[0-9a-f]{64}", datasets.checksum)
    again = spec.datasets(None)
    assert again.checksum == datasets.checksum
    for before, after in zip(splits(datasets).values(), splits(again).values(), strict=True):
        assert size(before) == size(after) > 0
        for index in (0, size(before) - 1):
            (inputs, target), (same, same_target) = before[index], after[index]
            assert fingerprint(inputs) == fingerprint(same)
            assert torch.equal(target, same_target)


def test_its_splits_share_no_sample(datasets: Datasets) -> None:
    seen: dict[bytes, str] = {}
    for name, dataset in splits(datasets).items():
        for index in range(size(dataset)):
            mark = fingerprint(dataset[index][0])
            assert seen.setdefault(mark, name) == name, f"sample {index} of {name} is in {seen[mark]} too"


def test_its_samples_fit_its_signature(spec: ModelSpec, datasets: Datasets) -> None:
    for dataset in splits(datasets).values():
        inputs, target = dataset[0]
        assert spec.signature.check({name: tensor.numpy()[np.newaxis] for name, tensor in inputs.items()}) == 1
        assert target.dtype == (torch.float32 if isinstance(spec.task, Regression) else torch.int64)
        assert target.shape == ()


def test_its_targets_are_those_of_its_task(spec: ModelSpec, datasets: Datasets) -> None:
    targets = {
        name: torch.stack([split[index][1] for index in range(size(split))]) for name, split in splits(datasets).items()
    }
    every = torch.cat(list(targets.values()))
    match spec.task:
        case Classification():
            assert set(every.tolist()) == set(range(spec.task.classes))
        case Regression():
            assert every.isfinite().all()
            assert every.std() > 0
        case Novelty():
            assert not torch.cat([targets["train"], targets["validation"]]).any(), "it would learn what is foreign"
            assert set(targets["test"].tolist()) == {0, 1}


def test_the_samples_it_offers_are_held_out_and_its_first(spec: ModelSpec, datasets: Datasets) -> None:
    samples = spec.samples(spec.signature.max_batch_size, None)
    assert spec.signature.check(samples) == spec.signature.max_batch_size
    held_out = {fingerprint(datasets.test[index][0]) for index in range(size(datasets.test))}
    for row in range(spec.signature.max_batch_size):
        assert fingerprint({name: torch.from_numpy(array[row]) for name, array in samples.items()}) in held_out
    fewer = spec.samples(3, None)
    assert all(np.array_equal(fewer[name], array[:3]) for name, array in samples.items())


def test_a_sample_survives_the_way_a_person_sends_it(spec: ModelSpec) -> None:
    samples = spec.samples(16, None)
    for row in range(16):
        assert spec.content.input.restores(rows_of(samples, row, row + 1))


def test_augmentation_changes_a_copy_as_the_seed_says(spec: ModelSpec) -> None:
    if spec.augment is None:
        pytest.skip("this model is trained on its samples as they are")
    inputs = tensors(spec.samples(8, None))
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    torch.manual_seed(1)
    first = spec.augment(inputs)
    second = spec.augment(inputs)
    torch.manual_seed(1)
    again = spec.augment(inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)
    assert all(torch.equal(first[name], again[name]) for name in inputs)
    assert any(not torch.equal(first[name], second[name]) for name in inputs)
    assert {name: tensor.shape for name, tensor in first.items()} == {name: tensor.shape for name, tensor in inputs.items()}


def test_it_trains_a_few_steps(spec: ModelSpec, datasets: Datasets) -> None:
    few = replace(
        datasets,
        train=Subset(datasets.train, range(size(datasets.train))[:256]),
        validation=Subset(datasets.validation, range(size(datasets.validation))[:64]),
        # Every so many: the test split of a novelty begins with the familiar ones.
        test=Subset(datasets.test, range(0, size(datasets.test), max(1, size(datasets.test) // 64))),
    )
    recipe = replace(spec.recipe, epochs=2, batch_size=32)
    trained = train(replace(spec, datasets=lambda data_dir: few), recipe, device="cpu")
    assert all(np.isfinite(value) for value in trained.validation.values())
    score = next(iter(trained.scores.values()))
    assert isinstance(score, Score)
    assert score.samples == len(few.test)  # type: ignore[arg-type]
    assert score.low <= score.value <= score.high
    if isinstance(spec.task, Classification):
        assert score.value > 1 / spec.task.classes, "two epochs have taught it nothing"
    assert trained.origin.model == spec.name
    assert trained.origin.data == datasets.checksum


def test_its_serving_module_gives_what_its_signature_says(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    serving = spec.serving_module(spec.build())
    assert not serving.training
    most = spec.signature.max_batch_size
    samples = tensors(spec.samples(most, None))
    names = [tensor.name for tensor in spec.signature.inputs]
    for rows in (1, 3, most):
        with torch.inference_mode():
            outputs = serving(*(samples[name][:rows] for name in names))
            by_name = serving(**{name: samples[name][:rows] for name in names})
        assert isinstance(outputs, tuple)
        for expected, output, same in zip(spec.signature.outputs, outputs, by_name, strict=True):
            spec.signature.check_tensor(expected, output.numpy())
            assert output.shape[0] == rows
            assert torch.equal(output, same)


def test_its_rows_do_not_know_of_each_other(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    serving = spec.serving_module(spec.build())
    samples = tensors(spec.samples(8, None))
    names = [tensor.name for tensor in spec.signature.inputs]
    with torch.inference_mode():
        together = serving(*(samples[name] for name in names))
        for row in range(8):
            alone = serving(*(samples[name][row : row + 1] for name in names))
            for many, one in zip(together, alone, strict=True):
                assert torch.allclose(many[row : row + 1].double(), one.double(), atol=1e-5)


def test_a_fresh_network_is_the_same_under_the_same_seed(spec: ModelSpec) -> None:
    torch.manual_seed(5)
    first = spec.build().state_dict()
    torch.manual_seed(5)
    second = spec.build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
