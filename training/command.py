"""Train a model on its data and write a checkpoint.

The weights that do best on the validation split are kept and scored once on the test split. The checkpoint is a folder,
CHECKPOINTS/MODEL/TIME, with the weights as safetensors and their origin as JSON. The same seed gives the same weights, bit
for bit, on the same machine with the same number of threads. After every epoch the run's state is kept beside it, in
TIME.unfinished, until the checkpoint is there: after Ctrl-C, a crash or a full disk, --resume ends with the same weights.
"""

import argparse
import sys
from pathlib import Path

import lightning.pytorch as lightning
import torch
from rich.console import Console

from models.spec import DataError, RecipeError, UnknownModel, find
from training import checkpoint, logs, unfinished
from training.checkpoint import Checkpoint, CheckpointError
from training.devices import DeviceError, rank
from training.order import Order, UsageError, add_arguments, order_of
from training.progress import ProgressBar, ProgressLines
from training.scores import words
from training.surroundings import ProcessLost
from training.task import TrainingError
from training.train import Trained, train

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Train as the arguments say and return the exit code: 1 for a failure, 2 for a wrong argument, 130 after Ctrl-C."""
    try:
        order = order_of(find(arguments.model), arguments)
        torch.set_num_threads(order.threads)
        return _train(order, arguments.log)
    except (UnknownModel, RecipeError, DeviceError, UsageError) as error:
        return _fail(error, 2)
    except (DataError, CheckpointError) as error:
        # Of several processes on several machines, one alone may lack a file.
        return _fail(error if rank() == 0 else f"process {rank()}: {error}", 1, everywhere=True)


def _train(order: Order, log: Path | None) -> int:
    first = rank() == 0  # of several processes, one speaks and writes
    try:
        trained = train(
            order.spec,
            order.recipe,
            seed=order.seed,
            device=order.device,
            devices=order.devices,
            strategy=order.strategy,
            data_dir=order.data_dir,
            callbacks=[_progress()] if first else [],
            loggers=[] if log is None else logs.loggers(log, order.spec.name),
            keep=order.kept,
            resumed=order.resumed,
            tell=_warn,
        )
    except KeyboardInterrupt:
        return _fail(f"interrupted; {order.remedy}", 130)
    except (ProcessLost, OSError) as error:  # an error of the system is that of a log, or of a data set in mid-training
        return _fail(f"{error}; {order.remedy}", 1)
    except TrainingError as error:
        unfinished.remove(order.kept)  # to go on would end in the same place
        return _fail(error, 1)
    return _save(order, trained) if first else 0


def _save(order: Order, trained: Trained) -> int:
    try:
        saved = checkpoint.save(trained.network, trained.origin, order.path)
    except CheckpointError as error:
        return _fail(f"{error}; {order.remedy}", 1)
    unfinished.remove(order.kept)
    print(_summary(trained, saved))
    return 0


def _progress() -> lightning.Callback:
    console = Console(stderr=True)
    return ProgressBar(console) if console.is_terminal else ProgressLines(_write_line)


def _write_line(line: str) -> None:
    print(line, flush=True)  # a log is read while it grows


def _summary(trained: Trained, saved: Checkpoint) -> str:
    scores = "\n".join(f"{trained.origin.model}: test {words(name, score)}" for name, score in trained.scores.items())
    validation = ", ".join(f"{name} {value:.4f}" for name, value in trained.validation.items())
    return (
        f"{scores}\n"
        f"weights of epoch {trained.epoch} (validation: {validation})\n"
        f"trained in {trained.seconds:.1f} s on {trained.device}, seed {trained.origin.seed}\n"
        f"checkpoint {saved.path}"
    )


def _warn(message: str) -> None:
    _fail(message, 0)


def _fail(reason: object, exit_code: int, *, everywhere: bool = False) -> int:
    """Print one line, of several processes the first alone unless it is to be `everywhere`; return the exit code."""
    if everywhere or rank() == 0:
        print(f"sameway train: {reason}", file=sys.stderr, flush=True)
    return exit_code
