"""Exact resume: after every epoch all that training goes on from is kept, and a resumed run ends with the very same weights.

Lightning dumps and restores its trainer (network, optimizer, schedule, loops, callbacks); here stands what it leaves out,
the random states, and where the dump goes, which is not a pickle (see unfinished.py).
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO

from training.checkpoint import CheckpointError
from training.devices import gathered
from training.unfinished import Run, keep, load, remove


class UnfinishedIO(CheckpointIO):
    """Lightning's way to the disk: a dump becomes an unfinished run. A disk that is full costs the state, not the run."""

    def __init__(self, run: Run, tell: Callable[[str], None]) -> None:
        self._run = run
        self._tell = tell
        self._told = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Keep a dump; where that fails, say so once and let training go on: the next epoch tries again."""
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        try:
            keep(Path(path), self._run, epochs, checkpoint)
        except OSError as error:
            if not self._told:
                self._tell(f"{path}: cannot keep the run's state, training goes on: {error.strerror or error}")
            self._told = True

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return a dump; raise CheckpointError."""
        return load(Path(path)).state

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove what is kept."""
        remove(Path(path))


class KeepState(lightning.Callback):
    """Keeps the run's state after each epoch, in the folder given. It comes before callbacks that tell of the epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Dump and keep; in all processes, as each has random states of its own."""
        trainer.save_checkpoint(self._path, weights_only=False)


class RandomStates(lightning.Callback):
    """The states of all that draws random numbers, as part of what Lightning dumps and restores.

    They are those of torch, numpy and Python in every process, and of the generator that orders the samples.
    """

    def __init__(self, order: torch.Generator, rank: int) -> None:
        self._order = order
        self._rank = rank
        self._restored: dict[str, Any] | None = None  # Any, here and below: a tree of numbers and tensors

    def state_dict(self) -> dict[str, Any]:
        """Return the states; called in all processes at once."""
        own = {"torch": torch.get_rng_state(), "numpy": _numpy_state(), "python": random.getstate()}
        if torch.cuda.is_available():
            own["cuda"] = torch.cuda.get_rng_state()
        return {"processes": gathered(own), "order": self._order.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the order at once, for Lightning asks the loader for the next epoch before it calls anything else."""
        self._order.set_state(state_dict["order"])
        self._restored = state_dict["processes"][self._rank]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Set the rest as late as can be, after all that draws on the way here."""
        own, self._restored = self._restored, None
        if own is None:
            return
        torch.set_rng_state(own["torch"])
        kind, keys, *others = own["numpy"]
        np.random.set_state((kind, np.array(keys, np.uint32), *others))
        random.setstate(own["python"])
        if "cuda" in own:
            torch.cuda.set_rng_state(own["cuda"])


def check_fits(state: dict[str, Any], module: lightning.LightningModule) -> None:
    """Raise CheckpointError unless a dump's weights are of a module's network: its code may be another by now."""
    found, expected = state.get("state_dict", {}), module.state_dict()
    wrong = [
        f"{name}: expected {_shape(expected.get(name))}, found {_shape(found.get(name))}"
        for name in sorted(found.keys() | expected.keys())
        if _shape(found.get(name)) != _shape(expected.get(name))
    ]
    if wrong:
        raise CheckpointError(f"not the state of this network: {'; '.join(wrong)}")


def _shape(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)


def _numpy_state() -> tuple[Any, ...]:
    """Return numpy's state with its keys as a list, which a dump can hold."""
    kind, keys, *others = np.random.get_state(legacy=True)
    return (str(kind), np.asarray(keys).tolist(), *others)
