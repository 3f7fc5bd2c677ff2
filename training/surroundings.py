"""What surrounds a run: random states and settings are put back, advertisements kept away, and errors made plain."""

import contextlib
import logging
import random
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
import torch

from training.devices import is_lost_connection
from training.loaders import Loader
from training.task import Task, TrainingError


class ProcessLost(TrainingError):
    """Another process of the run ended, so that this one cannot go on."""


def fit(trainer: lightning.Trainer, task: Task, batches: Loader, validation: Loader, state: Path | None) -> None:
    """Run Lightning's loop, from a state that was kept if one is given. An interruption stays a KeyboardInterrupt.

    Raise ProcessLost where another process of the run is gone.
    """
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, batches, validation, ckpt_path=state)
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        # Lightning has made an exit of it, and has turned SIGINT off for the rest of the process.
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stop
    except RuntimeError as error:
        if trainer.world_size > 1 and is_lost_connection(error):
            raise ProcessLost("another process of this run is gone; what it said, if anything, tells why") from error
        raise


@contextlib.contextmanager
def reproducible(seed: int, accelerator: str) -> Iterator[None]:
    """Seed torch, numpy and Python, and restore their generators and torch's choice of algorithms afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if accelerator == "cuda" else []):
        seed_all(seed)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def seed_all(seed: int) -> None:
    """Seed the generators that a dataset or an augmentation may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
