import csv
from dataclasses import replace
from pathlib import Path

from tests.training import toys
from training.logs import loggers
from training.train import train


def test_a_run_is_logged_as_a_table_and_for_tensorboard(tmp_path: Path) -> None:
    train(toys.spec(), replace(toys.RECIPE, epochs=2), device="cpu", loggers=loggers(tmp_path, "toy"))
    (folder,) = (tmp_path / "toy").iterdir()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {float(row["epoch"]) for row in rows if row.get("validation_accuracy")} == {0.0, 1.0}
    assert list(folder.glob("events.out.tfevents.*"))
