"""What the command line of `sameway train` asks for: a run from its beginning, or one that was interrupted, going on.

What is not said is the model's own or, of an interrupted run, as it was; what is said of such a run must be as it was too,
which `train` checks.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.spec import ModelSpec, Recipe
from training import checkpoint, recipe_file, unfinished
from training.checkpoint import CheckpointError
from training.cores import most_threads, sensible_threads
from training.devices import DEVICES, STRATEGIES, in_torchrun, place
from training.unfinished import Unfinished

#: torch takes seeds up to 2⁶⁴; half of that range survives every signed integer on the way.
_MAX_SEED = 2**63 - 1

#: The hyperparameters that have a flag; a file says the others.
_FLAGS = ("epochs", "batch_size", "learning_rate", "precision", "patience")

#: What --resume means without a folder.
_NEWEST = Path()

T = TypeVar("T")


class UsageError(ValueError):
    """An argument that argparse cannot judge is out of its range."""


@dataclass(frozen=True, slots=True)
class Order:
    """A run as it is wanted. `path` is where its checkpoint belongs; `threads` are those of each process."""

    spec: ModelSpec
    recipe: Recipe
    seed: int
    device: str
    devices: int
    strategy: str
    threads: int
    data_dir: Path | None
    path: Path
    resumed: bool

    @property
    def kept(self) -> Path:
        """Return where the run's state is kept until its checkpoint is there."""
        return self.path.with_name(self.path.name + unfinished.SUFFIX)

    @property
    def remedy(self) -> str:
        """Return how to go on with the run, or that there is nothing to go on from."""
        if not (self.kept / unfinished.FACTS).is_file():
            return "no checkpoint was written"
        return f"go on with: sameway train {self.spec.name} --resume {self.kept}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `sameway train`."""
    recipe = parser.add_argument_group("recipe", "Hyperparameters; what is not given is the model's own.")
    parser.add_argument("model", metavar="MODEL", help="the name of a folder under models/")
    recipe.add_argument("--recipe", type=Path, metavar="FILE", help="hyperparameters as TOML; flags overrule it")
    recipe.add_argument("--epochs", type=int, help="passes over the training split")
    recipe.add_argument("--batch-size", type=int, help="samples a step, of all devices together")
    recipe.add_argument("--learning-rate", type=float, help="the largest of the run: the peak of a one-cycle schedule")
    recipe.add_argument("--precision", help="32, or mixed with bf16 or 16 where the device has it")
    recipe.add_argument("--patience", type=int, help="stop after so many epochs without a better validation; 0: never")
    parser.add_argument("--seed", type=int, help="what every random number comes from (default: 0)")
    parser.add_argument("--device", choices=DEVICES, help="where to train (default: auto, CUDA if there is one)")
    parser.add_argument("--devices", type=int, metavar="N", help="how many of them, each with a process (default: 1)")
    parser.add_argument("--strategy", choices=STRATEGIES, default="auto", help="how several train one network; auto: ddp")
    parser.add_argument("--threads", type=int, help="cores for each process on a CPU (default: all but one, shared out)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a downloaded data set, in place of the packaged one")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="where checkpoints go")
    help_of_resume = "go on with an interrupted run: the newest one, or that of a folder TIME.unfinished"
    parser.add_argument("--resume", type=Path, nargs="?", const=_NEWEST, metavar="FOLDER", help=help_of_resume)
    parser.add_argument(
        "--log", type=Path, metavar="DIR", help="write DIR/MODEL/TIME: metrics.csv, and TensorBoard's events"
    )


def order_of(spec: ModelSpec, arguments: argparse.Namespace) -> Order:
    """Return the run that is wanted; raise UsageError, RecipeError, DeviceError or CheckpointError."""
    was = _interrupted(spec.name, arguments)
    run = None if was is None else was.run
    seed = checked_seed(_said(arguments.seed, run.seed if run else 0))
    # torchrun knows itself how many processes there are.
    devices = _said(arguments.devices, run.processes if run and not in_torchrun() else None)
    placement = place(_said(arguments.device, run.device if run else "auto"), devices, arguments.strategy)
    shared_out = max(1, sensible_threads() // placement.devices)
    threads = _said(arguments.threads, min(run.threads, most_threads()) if run else shared_out)
    if not 1 <= threads <= most_threads():
        raise UsageError(f"threads: expected 1 to {most_threads()}, found {threads}")
    return Order(
        spec,
        _recipe(spec.recipe, was, arguments),
        seed=seed,
        device=placement.accelerator,
        devices=placement.devices,
        strategy=arguments.strategy,
        threads=threads,
        data_dir=_said(arguments.data_dir, Path(run.data_dir) if run and run.data_dir else None),
        path=checkpoint.new_path(arguments.checkpoints, spec.name) if was is None else _finished(was.path),
        resumed=was is not None,
    )


def checked_seed(seed: int) -> int:
    """Return a seed that torch takes; raise UsageError for any other."""
    if not 0 <= seed <= _MAX_SEED:
        raise UsageError(f"seed: expected 0 to {_MAX_SEED}, found {seed}")
    return seed


def _interrupted(model: str, arguments: argparse.Namespace) -> Unfinished | None:
    """Return the run to go on with, or None for one from its beginning; raise CheckpointError."""
    if arguments.resume is None:
        return None
    newest = arguments.resume == _NEWEST
    return unfinished.load(unfinished.newest(arguments.checkpoints, model) if newest else arguments.resume)


def _finished(path: Path) -> Path:
    """Return where the checkpoint of an unfinished run belongs; raise CheckpointError where it cannot be written."""
    if path.suffix != unfinished.SUFFIX:
        raise CheckpointError(f"{path}: expected a folder named TIME{unfinished.SUFFIX}")
    finished = path.with_suffix("")
    if finished.exists():
        raise CheckpointError(f"{path}: this run is finished, its checkpoint is {finished}; the folder can be removed")
    checkpoint.check_writable(path.parent)
    return finished


def _recipe(own: Recipe, was: Unfinished | None, arguments: argparse.Namespace) -> Recipe:
    """Return the model's recipe, or that of the interrupted run, with what a file and then the flags say instead."""
    recipe = own if was is None else recipe_file.changed(own, was.run.recipe)
    if arguments.recipe is not None:
        recipe = recipe_file.read(arguments.recipe, recipe)
    given = vars(arguments)
    return recipe_file.changed(recipe, {name: given[name] for name in _FLAGS if given[name] is not None})


def _said(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
