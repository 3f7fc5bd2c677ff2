"""Progress, as Lightning callbacks: one bar over the whole run on a terminal, a line after each epoch in a log."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.task import validation_scores


class ProgressBar(lightning.Callback):
    """One bar over all steps of all epochs, with the latest validation scores; its last state stays on the terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),  # so that everything fits into 80 columns
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[scores]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._bar = TaskID(0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the bar."""
        self._bar = self._progress.add_task(_epoch(trainer), total=trainer.estimated_stepping_batches, scores="")
        self._progress.start()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # Any, here and below: Lightning's own signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar by one step."""
        self._progress.update(self._bar, advance=1, description=_epoch(trainer))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the epoch's scores."""
        self._progress.update(self._bar, scores=_words(validation_scores(trainer)))

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Give the terminal back."""
        self._progress.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back; Lightning may leave without a teardown."""
        self._progress.stop()


class ProgressLines(lightning.Callback):
    """A line after each epoch, given to `write`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the epoch's line. Lightning validates before it ends the epoch."""
        scores = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self._write(f"{_epoch(trainer)}  {_words(scores)}  {time.perf_counter() - self._started:.1f} s")


def _epoch(trainer: lightning.Trainer) -> str:
    width = len(str(trainer.max_epochs))
    return f"epoch {trainer.current_epoch + 1:>{width}}/{trainer.max_epochs}"


def _words(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
