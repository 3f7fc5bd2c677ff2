"""What a proof has shown: each figure beside its bound, as a table, and whether all of them hold."""

from collections.abc import Sequence
from dataclasses import dataclass

#: The longest of what is said of a figure that holds.
_BOUND_WIDTH = 44


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of a proof: what was promised, what was found, and whether that keeps the promise."""

    name: str
    figure: str
    bound: str
    passed: bool


def at_least(name: str, figure: float, bound: float, unit: str = "") -> Verdict:
    """Return the verdict on a figure that must not be smaller than its bound."""
    return Verdict(name, f"{figure:.4g}{unit}", f">= {bound:.4g}{unit}", figure >= bound)


def at_most(name: str, figure: float, bound: float, unit: str = "") -> Verdict:
    """Return the verdict on a figure that must not be larger than its bound."""
    return Verdict(name, f"{figure:.4g}{unit}", f"<= {bound:.4g}{unit}", figure <= bound)


def none_of(name: str, found: Sequence[str]) -> Verdict:
    """Return the verdict on what must not have happened, with the first of what has."""
    return Verdict(name, f"{len(found)}", "; ".join(["<= 0", *found[:5]]), not found)


def told(name: str, figure: float, unit: str = "") -> Verdict:
    """Return a figure that nothing is promised of."""
    return Verdict(name, f"{figure:.4g}{unit}", "not promised", True)


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as lines of text, the broken ones marked."""
    widths = [max(len(getattr(one, column)) for one in verdicts) for column in ("name", "figure", "bound")]
    # What is said of a broken one may be long, and is the last thing of its line but one.
    widths[2] = min(widths[2], _BOUND_WIDTH)
    lines = []
    for one in verdicts:
        cells = (one.name.ljust(widths[0]), one.figure.rjust(widths[1]), one.bound.ljust(widths[2]))
        lines.append("  ".join([*cells, "ok" if one.passed else "BROKEN"]))
    return "\n".join(lines)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 0 where every promise is kept, and there was one; 1 otherwise."""
    return 0 if verdicts and all(one.passed for one in verdicts) else 1
