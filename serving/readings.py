"""What all processes of a server have counted and say, read together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.block_bytes import Facts
from serving.counters import Counters
from serving.figures import Figures

#: A model, and a version's number as text; empty for what is counted by model alone.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Now:
    """One moment: the figures over all processes, and what each running process says of its versions, by its region."""

    figures: dict[Key, Figures]
    facts: Mapping[int, Sequence[Facts]]


class Readings:
    """Reads the counters. Writes nothing, so any number of processes may."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def now(self) -> Now:
        """Read everything once."""
        figures: dict[Key, Figures] = {}
        facts: dict[int, list[Facts]] = {
            number: [] for number in range(self._counters.regions) if self._counters.pid(number)
        }
        for reading in self._counters.read():
            key = (reading.facts["model"], reading.facts["version"])
            figures.setdefault(key, Figures()).add(reading.numbers, live=reading.live)
            if reading.live and reading.facts["model"]:
                facts.setdefault(reading.region, []).append(reading.facts)
        return Now(figures, facts)
