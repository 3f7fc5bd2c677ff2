"""What `sameway diff` found, for people and as JSON."""

from dataclasses import asdict, dataclass

from export.answers import Answers, Rightness
from export.difference import Facts
from models.repository import ModelVersion

#: Below this probability a difference is not put down to chance, as is usual.
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """All that was found. `answers` and `speed` are None where they could not or should not be had; `remarks` say why."""

    first: ModelVersion
    second: ModelVersion
    facts: Facts
    answers: Answers | None
    speed: dict[int, tuple[float, float]] | None
    remarks: tuple[str, ...]


def to_json(found: Difference) -> dict[str, object]:
    """Return everything that was found as JSON; a pair is a list of two, null where one of them has no such thing."""
    named = {
        place: {"version": _name(version), "digest": f"sha256:{version.digest}"}
        for place, version in (("first", found.first), ("second", found.second))
    }
    speed = None if found.speed is None else {str(size): list(pair) for size, pair in found.speed.items()}
    asked = None if found.answers is None else asdict(found.answers)
    return {**named, **asdict(found.facts), "answers": asked, "call_seconds": speed, "remarks": list(found.remarks)}


def worse(rightness: Rightness) -> bool:
    """Tell whether the second is right less often, and chance would not explain it."""
    return rightness.only_first > rightness.only_second and rightness.p_value < _SIGNIFICANT


def report_lines(found: Difference) -> list[str]:
    """Return the report for people."""
    facts = found.facts
    lines = [f"first   {_name(found.first)} sha256:{found.first.digest}"]
    lines += [f"second  {_name(found.second)} sha256:{found.second.digest}", ""]
    lines += _section("signature", [f"{name}: {_shown(a)} → {_shown(b)}" for name, (a, b) in facts.signature.items()])
    lines += _section("origin", [f"{name}: {_shown(a)} → {_shown(b)}" for name, (a, b) in facts.origin.items()])
    scores = [f"{name}: {_shown(a)} → {_shown(b)}{_delta(a, b)}" for name, (a, b) in facts.scores.items()]
    lines += _section("scores", scores, nothing="none recorded")
    lines += _section("bytes", [f"{name}: {_bytes(a)} → {_bytes(b)}" for name, (a, b) in facts.sizes.items()])
    if found.answers is not None:
        lines += _section("answers", _answers(found.answers))
    if found.speed is not None:
        calls = [
            f"{'a call' if not size else f'{size} rows'}: {a * 1e3:.3f} → {b * 1e3:.3f} ms (median, 1 thread, this machine)"
            for size, (a, b) in found.speed.items()
        ]
        lines += _section("speed", calls)
    return [*lines, *found.remarks]


def _section(heading: str, lines: list[str], *, nothing: str = "the same") -> list[str]:
    rest = [f"{'':<11}{line}" for line in lines[1:]]
    return [f"{heading:<11}{lines[0] if lines else nothing}", *rest]


def _answers(asked: Answers) -> list[str]:
    lines = [f"{asked.format}, on {asked.source}"]
    for output in asked.outputs:
        share = f"{output.changed:,} of {output.rows:,} ({output.changed / max(1, output.rows):.2%})"
        largest = "a change of kind" if output.largest is None else f"{output.largest:.2g}"
        if output.decision:
            lines.append(f"{output.output}: {share} changed")
        else:
            lines.append(f"{output.output}: {share} changed by more than both tolerances, at most by {largest}")
    rightness = asked.rightness
    if rightness is not None:
        rows = max(1, asked.outputs[0].rows)
        verdict = "no difference that chance would not explain"
        if rightness.p_value < _SIGNIFICANT:
            verdict = "the second is worse" if worse(rightness) else "the second is better"
        lines += [
            f"right: {rightness.first / rows:.2%} → {rightness.second / rows:.2%}; only the first {rightness.only_first:,}, "
            f"only the second {rightness.only_second:,}",
            f"McNemar's exact test: p = {rightness.p_value:.2g}: {verdict}",
        ]
    return lines


def _name(version: ModelVersion) -> str:
    return f"{version.manifest.model}/{version.manifest.version}"


def _shown(value: object) -> str:
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _bytes(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _delta(first: object, second: object) -> str:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return f" ({second - first:+.4g})"
    return ""
