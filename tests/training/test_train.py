import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from models import digits
from models.spec import DataError, Datasets, ModelSpec
from tests.training import toys
from training.devices import DeviceError
from training.train import train


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return network.state_dict()


def equal(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks are the same to the last bit."""
    pairs = zip(state(first).items(), state(second).items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def few_digits() -> ModelSpec:
    """Return the real model on few of its samples."""
    whole = digits.SPEC.datasets(None)
    few = Datasets(
        train=Subset(whole.train, range(320)),
        validation=Subset(whole.validation, range(100)),
        test=Subset(whole.test, range(100)),
        checksum=whole.checksum,
    )
    return replace(digits.SPEC, datasets=lambda data_dir: few)


def test_it_learns() -> None:
    trained = train(toys.spec(), replace(toys.RECIPE, epochs=12), device="cpu")
    assert trained.scores["accuracy"].value > 0.9
    assert trained.scores["accuracy"].samples == 40
    assert trained.device == "cpu"
    assert trained.seconds > 0


def test_the_network_is_as_it_was_at_its_best_and_ready_to_use() -> None:
    trained = train(toys.spec(), device="cpu")
    rows = toys.datasets().validation
    assert isinstance(rows, toys.Rows)
    assert not trained.network.training
    with torch.inference_mode():
        accuracy = (trained.network(rows.images).argmax(1) == rows.labels).float().mean()
    assert trained.validation["accuracy"] == pytest.approx(float(accuracy))


def test_the_origin_says_where_it_came_from() -> None:
    recipe = replace(toys.RECIPE, epochs=1)
    trained = train(toys.spec(), recipe, seed=3, device="cpu")
    assert (trained.origin.model, trained.origin.seed, trained.origin.data) == ("toy", 3, toys.CHECKSUM)
    assert trained.origin.recipe["epochs"] == 1
    assert trained.origin.scores == {"accuracy": trained.scores["accuracy"].value}


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    spec, recipe = few_digits(), replace(digits.SPEC.recipe, epochs=2)
    first = train(spec, recipe, seed=1, device="cpu")
    torch.rand(7)  # what was drawn before does not matter
    second = train(spec, recipe, seed=1, device="cpu")
    other = train(spec, recipe, seed=2, device="cpu")
    assert equal(first.network, second.network)
    assert first.validation == second.validation
    assert not equal(first.network, other.network)


def test_torch_is_left_as_it_was() -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    levels = [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")]
    train(toys.spec(), device="cpu")
    assert torch.equal(torch.rand(4), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")] == levels


def test_the_algorithms_are_deterministic_while_it_runs() -> None:
    seen: list[bool] = []

    class Look(lightning.Callback):
        def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    train(toys.spec(), device="cpu", callbacks=[Look()])
    assert seen == [True]


def test_it_is_silent_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(os.environ)
    train(toys.spec(), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert {name for name in set(os.environ) - before if name.startswith("PL_")} == set()


def test_an_interruption_stays_one_and_a_second_is_heard_too() -> None:
    class Interrupt(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: object, **__: object) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(toys.spec(), device="cpu", callbacks=[Interrupt()])
    assert signal.getsignal(signal.SIGINT) is handler
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_exit_stays_one() -> None:
    class Leave(lightning.Callback):
        def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            sys.exit(5)

    with pytest.raises(SystemExit, match="5"):
        train(toys.spec(), device="cpu", callbacks=[Leave()])


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="device: expected a CUDA device that torch can use, found none"):
        train(toys.spec(), device="cuda")
    with pytest.raises(DeviceError, match="device: expected one of auto, cpu, cuda, found 'tpu'"):
        train(toys.spec(), device="tpu")
    assert train(toys.spec(), device="auto").device == "cpu"


def test_damaged_data_are_told() -> None:
    def damaged(data_dir: Path | None) -> Datasets:
        raise DataError(f"{data_dir}: damaged")

    with pytest.raises(DataError, match="/data: damaged"):
        train(replace(toys.spec(), datasets=damaged), device="cpu", data_dir=Path("/data"))
