"""Loads that nobody has sent: records made up, so that every figure of theirs is known."""

import numpy as np

from loadtests.metrics import Readings
from loadtests.plan import Plan, Traffic
from loadtests.process import Load
from loadtests.records import RECORD, Kind
from loadtests.shapes import make
from models.tensors import Array

START = 1_000_000.0


def records(seconds: list[float] | Array, *, over: float = 10.0, kind: Kind = Kind.RIGHT) -> Array:
    """Return records of such latencies, at equal distances."""
    found = np.zeros(len(seconds), RECORD)
    found["meant"] = START + np.arange(len(seconds)) * over / max(1, len(seconds))
    found["seconds"] = seconds
    found["kind"] = kind
    found["status"] = 200
    found["stages"] = [0.1, 0.2, 0.3, 0.4, 0.5, 1.5]
    return found


def load(found: Array, *, over: float = 10.0, open_load: bool = True, busy: float = 0.2) -> Load:
    """Return a load of such records."""
    plan = Plan("http://127.0.0.1:1", (Traffic("toy", "json", 1.0),), make("steady", len(found) / over, over), open_load)
    facts = [{"started": START, "lags": [[START + 1, 0.001]], "examples": {"WRONG": {"expected 1, found 2": 3}}}]
    metrics = Readings([], "no metrics here")
    return Load(plan, found, facts, metrics, [(START + number, busy) for number in range(int(over))])
