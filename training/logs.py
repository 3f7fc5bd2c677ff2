"""Logs of a run, as a table and for TensorBoard: Lightning's own loggers, in a folder that no other run writes to."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from training.devices import rank


def loggers(root: Path, model: str) -> list[Logger]:
    """Return loggers into the folder root/model/TIME, of this moment, so that a resumed run spoils nothing; raise OSError.

    The folder is made at once, so that an hour's work does not end before a closed door. Of several processes, the first
    alone writes.
    """
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    if rank() == 0:
        (root / model / name).mkdir(parents=True)
    table = CSVLogger(root, name=model, version=name, flush_logs_every_n_steps=1)
    board = TensorBoardLogger(root, name=model, version=name, default_hp_metric=False)
    return [table, board]


class LogLearningRate(lightning.Callback):
    """Logs the learning rate of a step, as often as the trainer logs anything."""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # Any, here and below: Lightning's own signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Lightning's own monitor logs one for each group of parameters, and ours have all the same."""
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # Lightning sets it by another object
            for logger in trainer.loggers:
                logger.log_metrics({"learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}, step - 1)
