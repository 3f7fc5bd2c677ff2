import csv
from dataclasses import replace
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from tests.training import toys
from training import logs
from training.train import train


def values(events: Path) -> dict[str, list[float]]:
    """Read TensorBoard's file: records of a length in eight bytes, four of checksum, the event, four of checksum."""
    data = events.read_bytes()
    found: dict[str, list[float]] = {}
    while data:
        length = int.from_bytes(data[:8], "little")
        for value in Event.FromString(data[12 : 12 + length]).summary.value:
            found.setdefault(value.tag, []).append(value.simple_value)
        data = data[16 + length :]
    return found


def test_a_run_is_logged_as_a_table_and_for_tensorboard(tmp_path: Path) -> None:
    recipe = replace(toys.RECIPE, epochs=3)
    plain = train(toys.spec(), recipe, device="cpu")
    trained = train(toys.spec(), recipe, device="cpu", loggers=logs.loggers(tmp_path, "toy"))
    assert trained.validation == plain.validation  # to log changes nothing
    (folder,) = (tmp_path / "toy").iterdir()
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    accuracies = [float(row["validation_accuracy"]) for row in rows if row["validation_accuracy"]]
    assert len(accuracies) == 3
    assert trained.validation["accuracy"] in accuracies
    assert len([row for row in rows if row["loss"]]) == 3
    rates = [float(row["learning_rate"]) for row in rows if row["learning_rate"]]
    (events,) = folder.glob("events.out.tfevents.*")
    seen = values(events)
    assert len(seen["validation_accuracy"]) == len(seen["loss"]) == 3
    assert len(seen["learning_rate"]) == len(rates) == 3  # every fifth of 15 steps
    assert 0 < min(rates) < max(rates) <= recipe.learning_rate
