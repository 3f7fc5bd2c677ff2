"""Devices: where a run trains, in how many processes, and at which precision. Lightning starts the processes, or torchrun.

Several processes train one network by distributed data parallelism (DDP): each holds a copy, computes the gradients of its
share of every batch, and all take the step that the mean of these gradients asks for. They talk through gloo between CPUs
and through NCCL between GPUs. What is decided here is decided alike in every process, from the environment it was given.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed

from training.cores import most_threads
from training.loaders import Seat

#: Where training may run; "auto" takes a CUDA device if there is one.
DEVICES = ("auto", "cpu", "cuda")

#: How several processes train one network; "auto" takes DDP if there are several.
STRATEGIES = ("auto", "ddp")

#: What Lightning leaves in the environment for the processes it starts; a process that goes on wants none of it.
_LEFT_BEHIND = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")

T = TypeVar("T")


class DeviceError(ValueError):
    """The device asked for is not there, or not as many of them, or a run cannot be shared out among so many."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run trains: on "cpu" or "cuda", devices a machine, machines, Lightning's strategy, this process's seat."""

    accelerator: str
    devices: int
    machines: int
    strategy: str
    seat: Seat

    @property
    def words(self) -> str:
        """Return it as people say it: "cpu", "4 × cuda"."""
        return self.accelerator if self.seat.processes == 1 else f"{self.seat.processes} × {self.accelerator}"


def place(device: str = "auto", devices: int | None = None, strategy: str = "auto") -> Placement:
    """Return where to train; raise DeviceError for what is not there.

    `devices` is their number on this machine: as many as torchrun has started processes here, or else one, unless given.
    """
    if strategy not in STRATEGIES:
        raise DeviceError(f"strategy: expected one of {', '.join(STRATEGIES)}, found {strategy!r}")
    accelerator = _accelerator(device)
    here = _count("LOCAL_WORLD_SIZE") if in_torchrun() else None
    if here is not None and devices not in (None, here):
        raise DeviceError(f"devices: expected {here}, as many as torchrun has started processes here, found {devices}")
    devices = next(count for count in (devices, here, 1) if count is not None)
    most = torch.cuda.device_count() if accelerator == "cuda" else most_threads()
    if not 1 <= devices <= most:
        raise DeviceError(f"devices: expected 1 to {most} of {accelerator}, found {devices}")
    machines = _count("WORLD_SIZE") // devices if here is not None else 1
    processes = devices * machines
    together = "ddp" if processes > 1 or strategy == "ddp" else "auto"
    return Placement(accelerator, devices, machines, together, Seat(rank() if processes > 1 else 0, processes))


def rank() -> int:
    """Return this process's number among those that train together, from 0; only number 0 speaks and writes.

    torchrun tells it as RANK; Lightning tells the processes it starts, all on this machine, LOCAL_RANK and WORLD_SIZE.
    """
    if in_torchrun():
        return _count("RANK", 0)
    return _count("LOCAL_RANK", 0) if "WORLD_SIZE" in os.environ else 0


def gathered(value: T) -> list[T]:
    """Return what every process gives, in the order of their ranks; all of them have to ask."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    everybody: list[Any] = [None] * torch.distributed.get_world_size()  # Any: torch fills it with what was sent
    torch.distributed.all_gather_object(everybody, value)
    return everybody


def precision_on(precision: str, accelerator: str) -> str:
    """Return the precision of a recipe if a device of that kind computes with it, and "32" if not.

    Any CPU has bf16, if a slow one; float16 needs a GPU, whose loss is then scaled so that small gradients stay above 0.
    """
    if precision == "bf16" and accelerator == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "32"
    if precision == "16" and accelerator == "cpu":
        return "32"
    return precision


@contextlib.contextmanager
def environment(placement: Placement) -> Iterator[None]:
    """Leave no trace in the environment of the processes that trained together.

    Their connections stay, for another run of theirs: torchrun's meeting point can be used once. They end with the process.
    """
    before = {name: os.environ.get(name) for name in _LEFT_BEHIND}
    if placement.seat.processes > 1:
        # Lightning would otherwise choose a number of threads itself.
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone: NCCL's has a class, gloo's only the name of its source file."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _accelerator(device: str) -> str:
    """Return "cpu" or "cuda"; raise DeviceError if it is not there."""
    if device not in DEVICES:
        raise DeviceError(f"device: expected one of {', '.join(DEVICES)}, found {device!r}")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DeviceError("device: expected a CUDA device that torch can use, found none")
    return "cuda" if there and device != "cpu" else "cpu"


def in_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def _count(name: str, default: int = 1) -> int:
    """Return a number that a launcher has put into the environment."""
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise DeviceError(f"{name}: expected a number in the environment, found {value!r}")
    return int(value)
