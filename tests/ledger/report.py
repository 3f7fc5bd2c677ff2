"""What the judge found: the figures of a run, and every violation."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

#: Violations that are printed in full; after so many one knows.
_SHOWN = 20


class Fault(StrEnum):
    """What a server, or a run, can be guilty of."""

    LOST = "lost"
    SWAPPED = "swapped"
    DUPLICATED = "duplicated"
    WRONG = "wrong"
    STATUS = "status"
    #: 429, 503 or 504, each in order by itself, but more of them than the run allows.
    REFUSED = "refused"
    ID = "id"
    LEDGER = "ledger"
    TOTALS = "totals"
    #: Nothing is wrong, but the run has proved nothing.
    HOLLOW = "hollow"


@dataclass(frozen=True, slots=True)
class Violation:
    """One of them; `text` names the request and what happened to it."""

    fault: Fault
    text: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.text}"


@dataclass(slots=True)
class Report:
    """The judge's verdict on one ledger."""

    seconds: float = 0.0
    #: SENT lines, and terminal lines by kind.
    sent: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    #: 429 and 503 with Retry-After, and 504: allowed, in small numbers.
    refused: int = 0
    rows: int = 0
    worst: float = 0.0
    server: str = "not asked"
    violations: list[Violation] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every equation holds."""
        return not self.violations

    @property
    def faults(self) -> Counter[Fault]:
        """How many violations there are of each kind."""
        return Counter(violation.fault for violation in self.violations)

    def blame(self, fault: Fault, text: str) -> None:
        """Add a violation."""
        self.violations.append(Violation(fault, text))

    def __str__(self) -> str:
        """Return the report as people read it."""
        faults, ends = self.faults, self.ends
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kinds.items(), key=lambda pair: -pair[1]))
        rate = self.sent / self.seconds if self.seconds else 0.0
        lines = [
            f"{self.sent:,} requests in {self.seconds:.1f} s, {rate:,.0f}/s: {kinds}",
            f"SENT {self.sent:,} = OK {ends['OK']:,} + ERR {ends['ERR']:,} (refused or late {self.refused:,})"
            f" + CUT {ends['CUT']:,} + LOST {ends['LOST']:,}",
            f"rows answered {self.rows:,}, worst difference {self.worst:.1e}: swapped {faults[Fault.SWAPPED]:,},"
            f" duplicated {faults[Fault.DUPLICATED]:,}, wrong {faults[Fault.WRONG]:,}",
            f"server: {self.server}",
            *(str(violation) for violation in self.violations[:_SHOWN]),
        ]
        if len(self.violations) > _SHOWN:
            rest = ", ".join(f"{count:,} {fault}" for fault, count in faults.items())
            lines.append(f"… {len(self.violations):,} violations in all: {rest}")
        return "\n".join([*lines, "PASSED" if self.passed else "FAILED"])
