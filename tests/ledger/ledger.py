"""The ledger: what the client sent and what became of it, one line per event, in a file that only grows.

    <ns> RUN seed requests host port
    <ns> SENT r conn kind wants rows sha(request) deadline id
    <ns> OK r version sha(answer) id rows-in-hexadecimal
    <ns> ERR r status reason retry-after
    <ns> CUT r how                          the client hung up on purpose
    <ns> LOST r why
    <ns> STRAY conn sha(bytes)              bytes that no request had asked for

Times are monotonic; "-" stands for nothing. There is one writer, the client's event loop. SENT is on file before the first
byte is on the wire. What the judge knows of the client it reads here, so a ledger that was kept can be judged again.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

#: The lines that end a request: exactly one of them for each SENT. (KILLED joins them with the timetable of faults.)
TERMINAL = ("OK", "ERR", "CUT", "LOST")


class Ledger:
    """The writer. `counts` says how many lines of each kind there are, for whoever shows progress."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.counts = dict.fromkeys(("RUN", "SENT", *TERMINAL, "STRAY"), 0)

    def __enter__(self) -> Self:
        """Begin to write."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        os.close(self._file)

    def write(self, event: str, *facts: object) -> None:
        """Append one line; it is with the kernel when this returns."""
        words = " ".join("-" if fact is None or fact == "" else str(fact) for fact in facts)
        os.write(self._file, f"{time.monotonic_ns()} {event} {words}\n".encode())
        self.counts[event] += 1


@dataclass(slots=True)
class Sent:
    """A SENT line, and the terminal lines of its request: one, if all is well."""

    kind: str
    wants: int
    rows: int
    id: str | None
    ends: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(slots=True)
class Entries:
    """A ledger, read. `strange` are lines that do not fit: no RUN, a second SENT, an end of what never began."""

    seed: int = 0
    requests: int = 0
    sent: dict[int, Sent] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    first: int = 0
    last: int = 0

    @property
    def seconds(self) -> float:
        """From the first line to the last."""
        return (self.last - self.first) / 1e9


def read(path: Path) -> Entries:
    """Read a ledger."""
    entries = Entries()
    for line in _lines(path):
        time, event, *facts = line.split(" ")
        entries.first = entries.first or int(time)
        entries.last = int(time)
        if event == "RUN":
            entries.seed, entries.requests = int(facts[0]), int(facts[1])
        elif event == "STRAY":
            entries.strays.append(line)
        elif event == "SENT" and int(facts[0]) not in entries.sent:
            number, _, kind, wants, rows, _, _, id = facts
            entries.sent[int(number)] = Sent(kind, int(wants), int(rows), None if id == "-" else id)
        elif event in TERMINAL and int(facts[0]) in entries.sent:
            entries.sent[int(facts[0])].ends.append((event, *facts[1:]))
        else:
            entries.strange.append(line)
    return entries


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield line.rstrip("\n")
