"""Which config.toml carries most under an objective: instances, threads, queue delay and batch size, one after the other.

Each candidate is served and its capacity searched. What was there at first and what won are searched once more, in the other
order, for the machine drifts; a winner that is not better beyond both intervals is not proposed.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from loadtests import capacity, report
from loadtests.capacity import Estimate, Trial
from loadtests.search import Found
from loadtests.server import CannotRun

#: Waits for company that are worth trying, in seconds, and the share of a latency objective that one may take.
_DELAYS, _DELAY_SHARE = (0.0, 0.001, 0.002, 0.005), 0.25

#: How a proposal begins.
PROPOSED = "# Proposed by `sameway loadtest --tune`"

_BATCHES = (1, 8, 16, 32, 64)

#: What a server does where a configuration is silent: nothing that a proposal must say.
_DEFAULTS = {"instances": 1, "threads": 1, "queue_delay_seconds": 0.0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is tuned. `batch_rows` is None where a manifest says it, which no configuration may contradict."""

    instances: int = 1
    threads: int = 1
    queue_delay_seconds: float = 0.0
    batch_rows: int | None = None

    def __str__(self) -> str:
        batch = "" if self.batch_rows is None else f", max_batch_size {self.batch_rows}"
        delay = f"queue_delay_seconds {self.queue_delay_seconds:g}"
        return f"instances {self.instances}, threads {self.threads}, {delay}{batch}"

    def into(self, config: str) -> str:
        """Return a config.toml with these values; whatever else is in it stays."""
        values: dict[str, int | float] = {
            "instances": self.instances, "threads": self.threads, "queue_delay_seconds": self.queue_delay_seconds,
        }  # fmt: skip
        if self.batch_rows is not None:
            values["max_batch_size"] = self.batch_rows
        for key, value in values.items():
            line = re.compile(rf"^{key}\s*=\s*[^#\n]*?(?P<comment>\s*#.*)?$", re.MULTILINE)
            if line.search(config):
                config = line.sub(rf"{key} = {value:g}\g<comment>", config)
            elif value != _DEFAULTS.get(key):
                config = f"{key} = {value:g}\n{config}"  # in front: what follows a table would be in it
        return config


@dataclass(slots=True)
class Tuning:
    """All that was tried, and what became of it."""

    tried: dict[Candidate, list[Found]] = field(default_factory=dict)

    def estimate(self, candidate: Candidate) -> Estimate | None:
        """Return what all searches of a candidate tell together; None where they found no capacity."""
        trials = [
            Trial(trial["rate"], trial["kept"], counts=trial["cause"] in (None, "server"))
            for found in self.tried.get(candidate, [])
            for trial in found.trials
        ]
        return capacity.estimate(trials) if capacity.bracketed(trials) else None

    def best(self) -> Candidate | None:
        """Return who carries most; None where nobody keeps the objective at any rate."""
        known = {candidate: self.estimate(candidate) for candidate in self.tried}
        rates = {candidate: found.rate for candidate, found in known.items() if found is not None}
        return max(rates, key=lambda candidate: rates[candidate], default=None)


def first_of(config: str, *, has_manifest: bool) -> Candidate:
    """Return what a config.toml says now; raise CannotRun where it is none."""
    try:
        told = tomllib.loads(config)
    except ValueError as error:
        raise CannotRun(f"tune: config.toml: {error}") from error
    batch = None if has_manifest else told.get("max_batch_size")
    return Candidate(
        int(told.get("instances", 1)), int(told.get("threads", 1)), float(told.get("queue_delay_seconds", 0.0)), batch
    )


def placements(cores: int) -> list[tuple[int, int]]:
    """Return instances and threads that fill so many cores and no more, and one of each."""
    counts = sorted({min(cores, 2**power) for power in range(cores.bit_length() + 1)})
    return list(dict.fromkeys([(1, 1), *((count, 1) for count in counts), *((count, cores // count) for count in counts)]))


def tune(
    tuning: Tuning,
    search: Callable[[Candidate, float | None], Found],
    first: Candidate,
    *,
    cores: int,
    has_manifest: bool,
    limit_seconds: float | None,
) -> None:
    """Try one thing after the other, each beside the best so far; `search` gets a rate to begin at, once one is known."""

    def measure(candidates: Sequence[Candidate]) -> Candidate:
        for candidate in candidates:
            if candidate not in tuning.tried:
                _search(tuning, search, candidate)
        return tuning.best() or first

    best = measure([first])
    best = measure([replace(best, instances=instances, threads=threads) for instances, threads in placements(cores)])
    most = _DELAYS[-1] if limit_seconds is None else limit_seconds * _DELAY_SHARE
    best = measure([replace(best, queue_delay_seconds=delay) for delay in _DELAYS if delay <= most])
    if not has_manifest:
        best = measure([replace(best, batch_rows=rows) for rows in _BATCHES])
    if best != first:
        for candidate in (best, first):
            _search(tuning, search, candidate)


def _search(tuning: Tuning, search: Callable[[Candidate, float | None], Found], candidate: Candidate) -> None:
    """Search a candidate's capacity from where the best is known to be."""
    best = tuning.best()
    known = None if best is None else tuning.estimate(best)
    found = search(candidate, None if known is None else known.rate)
    tuning.tried.setdefault(candidate, []).append(found)
    if found.interrupted is not None:
        raise KeyboardInterrupt(found.interrupted)


def proposal(
    tuning: Tuning, first: Candidate, config: str, *, slo: str, model: str, where: str, complete: bool = True
) -> report.Json:
    """Return the proposed config.toml with its evidence, as a report has it; `complete`: whether all was tried."""
    best, before = tuning.best(), tuning.estimate(first)
    chosen, why = first, "nothing kept the objective at any rate, so nothing is proposed"
    if best is not None:
        after = tuning.estimate(best)
        if best == first:
            why = "what is configured now carries most"
        elif before is not None and after is not None and after.low <= before.high:
            why = f"{best} is not better beyond the intervals, so what is configured now stays"
        else:
            chosen, why = best, f"proposed: {best}"
    if not complete:
        why = f"interrupted, so not everything was tried; {why}"
    lines = [f"{candidate}: {_known(tuning.estimate(candidate))}" for candidate in tuning.tried]
    speeds = [speed.milliseconds for found in tuning.tried.values() for one in found for speed in one.speeds]
    drifted = f"the machine's own speed went from {min(speeds):.3g} to {max(speeds):.3g} ms meanwhile" if speeds else ""
    head = [
        f"{PROPOSED} for {model}, with the objective {slo}, on {where}.",
        *(f"# {line}" for line in lines),
        f"# {why}; {drifted}.",
    ]
    return {
        "config": "\n".join(head) + "\n" + chosen.into(config),
        "chosen": str(chosen),
        "changed": chosen != first,
        "told": [*lines, why],
        "found": best is not None,
    }


def _known(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no rate that keeps it was found"
    return f"{estimate.rate:,.4g} arrivals/s ({estimate.low:,.4g} to {estimate.high:,.4g})"
