"""One training run: a ModelSpec and a Recipe become a trained network, its scores and its origin.

Same seed, same machine, same number of threads: the same weights, bit for bit.
"""

import contextlib
import logging
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as lightning
import torch
from torch import nn

from models.manifest import Origin
from models.spec import ModelSpec, Recipe
from training.best import BestWeights
from training.evaluate import evaluate, predict_with
from training.loaders import Loader, scoring_loader, training_loader
from training.origin import origin_of
from training.scores import Score
from training.task import Task

#: Where training may run; "auto" takes a CUDA device if there is one.
DEVICES = ("auto", "cpu", "cuda")


class DeviceError(ValueError):
    """The device asked for is not there."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run gives: the network with its best weights, on the CPU and in evaluation, and what is known of it.

    `scores` are those on the test split; `validation` those of `epoch`, the one whose weights these are.
    """

    network: nn.Module
    origin: Origin
    scores: Mapping[str, Score]
    validation: Mapping[str, float]
    epoch: int
    device: str
    seconds: float


def train(
    spec: ModelSpec,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    data_dir: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
) -> Trained:
    """Train on the train split, keep the weights that do best on the validation split, and score them on the test split.

    The recipe is the spec's own unless given; the callbacks are Lightning's, for progress and the like. torch's random
    state and settings are afterwards as they were. Raise DataError, DeviceError, or TrainingError where the loss blows up.
    """
    recipe = recipe or spec.recipe
    accelerator = _accelerator(device)
    datasets = spec.datasets(data_dir)
    started = time.perf_counter()
    best = BestWeights()
    with _reproducible(seed, accelerator), _quiet():
        task = Task(spec, recipe)
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=recipe.epochs,
            # Where an operation has no deterministic kernel on a device, torch says so in a warning; training goes on.
            deterministic="warn",
            callbacks=[best, *callbacks],
            logger=False,
            enable_checkpointing=False,  # Lightning's are pickles
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        batches = training_loader(datasets.train, recipe.batch_size, seed=seed)
        _fit(trainer, task, batches, scoring_loader(datasets.validation))
        network = task.network.cpu().eval()
        scores = evaluate(predict_with(spec, network), scoring_loader(datasets.test), spec.task)
    values = {name: score.value for name, score in scores.items()}
    origin = origin_of(spec.name, recipe, seed=seed, data=datasets.checksum, scores=values)
    return Trained(network, origin, scores, best.scores, best.epoch, accelerator, time.perf_counter() - started)


def _fit(trainer: lightning.Trainer, task: Task, batches: Loader, validation: Loader) -> None:
    """Run Lightning's loop. An interruption stays a KeyboardInterrupt."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, batches, validation)
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        # Lightning has made an exit of it, and has turned SIGINT off for the rest of the process.
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stop


def _accelerator(device: str) -> str:
    """Return "cpu" or "cuda"; raise DeviceError if it is not there."""
    if device not in DEVICES:
        raise DeviceError(f"device: expected one of {', '.join(DEVICES)}, found {device!r}")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DeviceError("device: expected a CUDA device that torch can use, found none")
    return "cuda" if there and device != "cpu" else "cpu"


@contextlib.contextmanager
def _reproducible(seed: int, accelerator: str) -> Iterator[None]:
    """Seed torch, and restore its generators and its choice of algorithms afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[0] if accelerator == "cuda" else []):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and advice off the terminal; errors are raised, not printed."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers")  # data in memory needs none
            warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning 2.6 uses what torch 2.13 deprecates
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
