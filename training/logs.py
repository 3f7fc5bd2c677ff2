"""Logs of a run, as a table and for TensorBoard: Lightning's own loggers, in a folder that no other run writes to."""

from datetime import UTC, datetime
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


def loggers(root: Path, model: str) -> list[Logger]:
    """Return loggers into the folder root/model/TIME, of this moment, so that a resumed run spoils nothing."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    table = CSVLogger(root, name=model, version=name, flush_logs_every_n_steps=1)
    board = TensorBoardLogger(root, name=model, version=name, default_hp_metric=False)
    return [table, board]
