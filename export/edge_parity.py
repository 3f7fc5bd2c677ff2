"""A saved file at the edges of its inputs' datatypes, against what `edges.py` has found the eager model to answer there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export import batches, tolerance
from export.edges import Edge, Expected
from export.exporter import Run, first_line
from models.manifest import EdgeParity
from models.tensors import Array, Signature


@dataclass(frozen=True, slots=True)
class EdgeComparison:
    """What became of every edge, a sentence per fault, and one per difference that is the runtime's and not the file's."""

    edges: tuple[EdgeParity, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def compare(run: Run, signature: Signature, edges: Sequence[Edge], *, ways: Sequence[str] = ()) -> EdgeComparison:
    """Run an opened artifact at every edge, among real rows and alone, and judge its answers.

    `ways` are operators in the file for which its runtime has ways of its own with NaN and infinity: where there are any,
    a number for NaN, or the other way round, is noted and no fault.
    """
    found, faults, notes = [], [], []
    for edge in edges:
        if edge.skipped:
            found.append(EdgeParity(edge.input, edge.name, 0, 0, passed=True, remark=f"skipped: {edge.skipped}"))
            continue
        fault, excused = _judge(run, signature, edge, excuse=bool(ways))
        remark = f"{', '.join(ways)}: {excused}" if excused else ""
        places = [(output.judged[edge.place, ...], output) for output in edge.outputs.values()]
        found.append(
            EdgeParity(
                input=edge.input,
                edge=edge.name,
                values=sum(judged.size for judged, _ in places),
                judged=sum(int(np.count_nonzero(judged)) for judged, _ in places),
                passed=fault is None,
                remark=remark,
            )
        )
        if fault is not None:
            faults.append(f"{edge.input} at {edge.name}: {fault}")
        elif excused:
            notes.append(f"{edge.input} at {edge.name}: {excused}, by the runtime's {' and '.join(ways)}")
    return EdgeComparison(tuple(found), tuple(faults), tuple(notes))


def _judge(run: Run, signature: Signature, edge: Edge, *, excuse: bool) -> tuple[str | None, str]:
    """Return the first fault, and what is excused."""
    rows = len(next(iter(edge.inputs.values())))
    excused = ""
    for size, places in ((rows, np.arange(rows)), (1, np.array([edge.place]))) if rows > 1 else ((1, np.array([0])),):
        inputs = {name: array[places] for name, array in edge.inputs.items()}
        try:
            answers = [run(batch) for batch in batches.cut(signature, inputs, size)]
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own
            return f"cannot be run: {first_line(error)}", ""
        for name, output in edge.outputs.items():
            wanted = Expected(output.values[places], output.judged[places], output.allowed[places])
            parts = [answer[name] for answer in answers if name in answer]
            fault, odd = _differs(signature, parts, wanted, places == edge.place, excuse=excuse)
            if fault is not None:
                return f"output {name!r}: {fault}", ""
            excused = excused or (f"output {name!r}: {odd}" if odd else "")
    return None, excused


def _differs(
    signature: Signature, parts: Sequence[Array], wanted: Expected, at_edge: Array, *, excuse: bool
) -> tuple[str | None, str]:
    """Return how an output differs, and how where that is excused."""
    if not parts:
        return "is missing", ""
    shapes = {part.shape for part in parts}
    found = batches.joined(signature, parts) if len(shapes) == 1 else parts[0]
    if found.shape != wanted.values.shape or found.dtype != wanted.values.dtype:
        expected = f"{wanted.values.dtype} {list(wanted.values.shape)}"
        return f"expected {expected}, found {found.dtype} {list(found.shape)}", ""
    wrong = wanted.judged & ~(tolerance.difference(found, wanted.values) <= wanted.allowed)
    if not wrong.any():
        return None, ""
    if excuse:
        # Only at the edge itself, and only what is a number on one side and none on the other.
        here = at_edge.reshape(-1, *[1] * (wrong.ndim - 1))
        odd = wrong & here & ~(np.isfinite(found) & np.isfinite(wanted.values))
        if not (wrong & ~odd).any():
            return None, _told(found, wanted, odd)
        wrong &= ~odd
    beside = "" if wrong[at_edge].any() else "of the real rows beside it, "
    return beside + _told(found, wanted, wrong), ""


def _told(found: Array, wanted: Expected, wrong: Array) -> str:
    """Return how many values are off, and the first of them."""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    return (
        f"{np.count_nonzero(wrong):,} of {np.count_nonzero(wanted.judged):,} judged values are off, such as: "
        f"expected {wanted.values[place]:.9g}, found {found[place]:.9g}"
    )
