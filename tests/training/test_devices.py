import os

import pytest
import torch

from models.spec import RecipeError
from tests.training import toys
from training import devices
from training.devices import DeviceError, place, precision_on
from training.loaders import Seat
from training.train import train


def torchrun(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Put into the environment what torchrun does."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_alone_unless_more_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")  # somebody else's
    alone = place("cpu")
    assert (alone.devices, alone.machines, alone.strategy, alone.seat) == (1, 1, "auto", Seat(0, 1))
    assert place("cpu", strategy="ddp").strategy == "ddp"
    two = place("cpu", 2)
    assert (two.strategy, two.seat, two.words) == ("ddp", Seat(0, 2), "2 × cpu")


def test_a_process_that_lightning_started_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert place("cpu", 2).seat == Seat(1, 2)


def test_torchrun_tells_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, RANK="5", LOCAL_RANK="1", WORLD_SIZE="6", LOCAL_WORLD_SIZE="2")
    found = place("cpu")
    assert (found.devices, found.machines, found.strategy, found.seat) == (2, 3, "ddp", Seat(5, 6))
    assert place("cpu", 2) == found
    with pytest.raises(DeviceError, match="devices: expected 2, as many as torchrun has started processes here, found 4"):
        place("cpu", 4)


def test_a_number_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, RANK="first", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    with pytest.raises(DeviceError, match="RANK: expected a number in the environment, found 'first'"):
        place("cpu")


def test_what_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (0, -1, 10_000):
        with pytest.raises(DeviceError, match=f"devices: expected 1 to .* of cpu, found {count}"):
            place("cpu", count)
    with pytest.raises(DeviceError, match="strategy: expected one of auto, ddp, found 'fsdp'"):
        place("cpu", strategy="fsdp")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert place("auto", 4).words == "4 × cuda"
    with pytest.raises(DeviceError, match="devices: expected 1 to 4 of cuda, found 5"):
        place("cuda", 5)


def test_what_cannot_be_shared_out_is_told_before_any_process_starts() -> None:
    with pytest.raises(RecipeError, match="batch_size: expected a multiple of the 3 devices, found 16"):
        train(toys.spec(), toys.RECIPE, device="cpu", devices=3)


def test_a_precision_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [precision_on(bits, "cpu") for bits in ("32", "bf16", "16")] == ["32", "bf16", "32"]
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, there=there: there)
        assert [precision_on(bits, "cuda") for bits in ("32", "bf16", "16")] == ["32", "bf16" if there else "32", "16"]


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "7")
    before = dict(os.environ)
    with devices.environment(place("cpu", 2)):
        assert os.environ["OMP_NUM_THREADS"] == str(torch.get_num_threads())
        os.environ.update(WORLD_SIZE="2", MASTER_PORT="1", LOCAL_RANK="0")
    assert dict(os.environ) == before


def test_one_process_gathers_from_itself() -> None:
    assert devices.gathered({"a": 1}) == [{"a": 1}]
