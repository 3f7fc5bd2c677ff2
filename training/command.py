"""Train a model on its data and write a checkpoint.

The weights that do best on the validation split are kept and scored once on the test split. The checkpoint is a folder,
CHECKPOINTS/MODEL/TIME, with the weights as safetensors and their origin as JSON. The same seed gives the same weights, bit
for bit, on the same machine with the same number of threads.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as lightning
import torch
from rich.console import Console

from models.spec import DataError, Recipe, RecipeError, UnknownModel, find
from training import checkpoint
from training.checkpoint import Checkpoint, CheckpointError
from training.cores import most_threads, sensible_threads
from training.progress import ProgressBar, ProgressLines
from training.scores import Score
from training.task import TrainingError
from training.train import DEVICES, DeviceError, Trained, train

#: torch takes seeds up to 2⁶⁴; half of that range survives every signed integer on the way.
_MAX_SEED = 2**63 - 1


class _UsageError(ValueError):
    """An argument that argparse cannot judge is out of its range."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `sameway train`."""
    recipe = parser.add_argument_group("recipe", "Hyperparameters; what is not given is the model's own.")
    parser.add_argument("model", metavar="MODEL", help="the name of a folder under models/")
    recipe.add_argument("--epochs", type=int, default=argparse.SUPPRESS, help="passes over the training split")
    recipe.add_argument("--batch-size", type=int, default=argparse.SUPPRESS, help="samples a step")
    recipe.add_argument("--learning-rate", type=float, default=argparse.SUPPRESS, help="the peak of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0, help="what every random number comes from")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to train; auto: CUDA if there is one")
    parser.add_argument("--threads", type=int, default=sensible_threads(), help="cores to train on, where that is the CPU")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a downloaded data set, in place of the packaged one")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="where checkpoints go")


def run(arguments: argparse.Namespace) -> int:
    """Train as the arguments say and return the exit code: 1 for a failure, 2 for a wrong argument, 130 after Ctrl-C."""
    try:
        _train(arguments)
    except (UnknownModel, RecipeError, DeviceError, _UsageError) as error:
        return _fail(error, 2)
    except (DataError, CheckpointError, TrainingError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; no checkpoint was written", 130)
    return 0


def _train(arguments: argparse.Namespace) -> None:
    spec = find(arguments.model)
    recipe = _recipe(spec.recipe, arguments)
    if not 0 <= arguments.seed <= _MAX_SEED:
        raise _UsageError(f"seed: expected 0 to {_MAX_SEED}, found {arguments.seed}")
    if not 1 <= arguments.threads <= most_threads():
        raise _UsageError(f"threads: expected 1 to {most_threads()}, found {arguments.threads}")
    torch.set_num_threads(arguments.threads)
    path = checkpoint.new_path(arguments.checkpoints, spec.name)
    trained = train(
        spec,
        recipe,
        seed=arguments.seed,
        device=arguments.device,
        data_dir=arguments.data_dir,
        callbacks=[_progress()],
    )
    print(_summary(trained, checkpoint.save(trained.network, trained.origin, path)))


def _recipe(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """Return the model's recipe with what the command line says instead."""
    given = vars(arguments)
    changes = {name: given[name] for name in ("epochs", "batch_size", "learning_rate") if name in given}
    return replace(recipe, **changes)


def _progress() -> lightning.Callback:
    console = Console(stderr=True)
    return ProgressBar(console) if console.is_terminal else ProgressLines(_write_line)


def _write_line(line: str) -> None:
    print(line, flush=True)  # a log is read while it grows


def _summary(trained: Trained, saved: Checkpoint) -> str:
    scores = "\n".join(f"{trained.origin.model}: test {_words(name, score)}" for name, score in trained.scores.items())
    validation = ", ".join(f"{name} {value:.4f}" for name, value in trained.validation.items())
    return (
        f"{scores}\n"
        f"weights of epoch {trained.epoch} (validation: {validation})\n"
        f"trained in {trained.seconds:.1f} s on {trained.device}, seed {trained.origin.seed}\n"
        f"checkpoint {saved.path}"
    )


def _words(name: str, score: Score) -> str:
    factor, unit, places = (100, " %", 2) if score.unit is None else (1, f" {score.unit}".rstrip(), 4)
    value, low, high = (f"{factor * bound:.{places}f}" for bound in (score.value, score.low, score.high))
    return f"{name} {value}{unit} (95 % interval {low} to {high}{unit}, {score.samples:,} samples)"


def _fail(reason: object, exit_code: int) -> int:
    print(f"sameway train: {reason}", file=sys.stderr)
    return exit_code
