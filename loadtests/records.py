"""One record per request, in a file of fixed-size records: written by generator processes, read whole by numpy.

Nothing is summed up while there is load. So every percentile is exact, over any window, and counted from when a request
should have been sent; an hour at 1,000 requests/s is 160 MB.
"""

import contextlib
import enum
import io
import json
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.said import words
from models.tensors import Array


class Kind(enum.IntEnum):
    """How a request ended; all but the first are failures, each of its own kind."""

    RIGHT = 0
    WRONG = 1
    SWAPPED = 2
    MALFORMED = 3
    REFUSED = 4
    UNAVAILABLE = 5
    CLIENT_ERROR = 6
    SERVER_ERROR = 7
    TIMEOUT = 8
    LOST = 9
    #: It should have been sent, and the generator had no connection for it: no fault of the server's, and no answer.
    NEVER_SENT = 10


#: How people are told of each.
TOLD = {
    Kind.RIGHT: "right",
    Kind.WRONG: "wrong answer",
    Kind.SWAPPED: "answer to another sample",
    Kind.MALFORMED: "not an answer of the protocol",
    Kind.REFUSED: "refused (429)",
    Kind.UNAVAILABLE: "unavailable (503)",
    Kind.CLIENT_ERROR: "another status below 500",
    Kind.SERVER_ERROR: "another status from 500",
    Kind.TIMEOUT: "no answer in time",
    Kind.LOST: "connection refused or lost",
    Kind.NEVER_SENT: "never sent",
}

#: The stages of `Server-Timing`, in milliseconds; NaN where the answer did not say.
STAGES = ("decode", "queue", "batch", "compute", "encode", "total")

#: `meant` is when the request should have been sent, in seconds since the epoch; `late` how much later it was; `seconds` how
#: long it took, from `meant` on.
RECORD = np.dtype(
    [("meant", "<f8"), ("late", "<f4"), ("seconds", "<f4"), ("traffic", "u1"), ("kind", "u1"), ("status", "<u2"),
     ("stages", "<f4", (len(STAGES),))]
)  # fmt: skip
_PACK = struct.Struct(f"<dffBBH{len(STAGES)}f").pack

#: What begins the reason why a load ended, where the fault is in the generator itself.
FAILED = "the generator failed"
#: And where its machine had nothing left to send with, or it was ended by somebody: what it had measured is sound.
EXHAUSTED, ENDED = "the generator's machine ran out", "the generator was ended"

#: Different failures that are kept with their words, of each kind: enough to see what is wrong.
_EXAMPLES = 5
#: Letters of each.
_LETTERS = 300

#: A stage that took longer took a day, or the server says what cannot be.
_LONGEST_MS, _MOST_ENTRIES = 86_400_000.0, 32

_NONE = (float("nan"),) * len(STAGES)


class Recorder:
    """Keeps what happens in memory, and writes it to this process's files every second. Not thread-safe: greenlets only."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._waiting = bytearray()
        self._examples: dict[Kind, Counter[str]] = {}
        self.ended = 0
        self.failed = 0
        #: Whatever else a report should know of this process. Any: JSON.
        self.facts: dict[str, Any] = {}
        #: Moments, and how much too late this process was woken then, since the last flush.
        self.lags: list[tuple[float, float]] = []
        self._files: list[io.FileIO] = []

    def add(
        self,
        *,
        meant: float,
        late: float,
        seconds: float,
        traffic: int,
        kind: Kind,
        status: int,
        timing: str | None,
        why: str,
    ) -> None:
        """Note how a request ended."""
        stages = _NONE if timing is None else stages_of(timing)
        self._waiting += _PACK(meant, late, seconds, traffic, kind, status, *stages)
        self.ended += 1
        if kind != Kind.RIGHT:
            self.failed += 1
            examples = self._examples.setdefault(kind, Counter())
            why = words(why, _LETTERS)
            if why in examples or len(examples) < _EXAMPLES:
                examples[why] += 1

    def flush(self) -> None:
        """Write what has been noted since the last time; without a folder nobody wants it.

        Both files stay open: where descriptors have run out there would be none to write with.
        """
        waiting, self._waiting = self._waiting, bytearray()
        if self._folder is None:
            return
        if not self._files:
            self._files = [(self._folder / f"{os.getpid()}.{kind}").open("ab", buffering=0) for kind in ("records", "facts")]
        records, facts = self._files
        records.write(waiting)
        examples = {kind.name: dict(found) for kind, found in self._examples.items()}
        facts.write(json.dumps({**self.facts, "lags": self.lags, "examples": examples}).encode() + b"\n")
        self.lags = []


def stages_of(timing: str) -> tuple[float, ...]:
    """Return the stages of a `Server-Timing` header; NaN where it names one not, or not as milliseconds that can be."""
    found = {}
    for entry in timing.split(",", _MOST_ENTRIES):
        name, _, duration = entry.strip().partition(";dur=")
        with contextlib.suppress(ValueError):  # with a description, or of another server
            found[name] = float(duration)
    stages = (found.get(name, float("nan")) for name in STAGES)
    return tuple(stage if 0 <= stage <= _LONGEST_MS else float("nan") for stage in stages)


def read(folder: Path) -> tuple[Array, list[dict[str, Any]]]:
    """Return all records of a folder by the time they were meant to be sent, and the facts of each process."""
    files = sorted(folder.glob("*.records"))
    parts = [np.frombuffer(data[: len(data) // RECORD.itemsize * RECORD.itemsize], RECORD) for data in map(_bytes, files)]
    records = np.concatenate(parts) if parts else np.zeros(0, RECORD)
    facts = [_facts(file) for file in sorted(folder.glob("*.facts"))]
    return records[np.argsort(records["meant"], kind="stable")], facts


def _facts(file: Path) -> dict[str, Any]:
    """Return the facts of one process: the last ones of each name, and all its lags. A line may have been cut off."""
    found: dict[str, Any] = {}
    lags: list[Any] = []
    for line in file.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            lags += told.pop("lags")
            found |= told
    return {**found, "lags": lags}


def _bytes(file: Path) -> bytes:
    return file.read_bytes()
