"""Before the last step: a saved file against the eager model where softmax or sigmoid has not yet flattened the difference.

A shift of all logits changes no probability, and where a classifier is confident hardly any fault does. Yet the next input
may not be as clear. So what enters the last step is compared too, by the tolerance that its own noise gives, where the file
can be opened up to there (`inner_values.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export import parity
from export.inner_values import NotFound, inner
from export.reference import Reference
from models.manifest import OutputParity


@dataclass(frozen=True, slots=True)
class Inside:
    """What was compared, a sentence per fault, and one for each output that could not be looked into."""

    outputs: tuple[OutputParity, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare(path: Path, reference: Reference, *, sizes: Sequence[int]) -> Inside:
    """Compare what enters the last steps; nothing where no output has such a step, or chance decides it."""
    usable = {
        name: output
        for name, output in reference.before.items()
        if not (output.fault or output.random or output.dependence or reference.outputs[name].random)
    }
    notes = [
        f"{name} before {reference.steps[name]}: not looked at: {output.fault}"
        for name, output in reference.before.items()
        if output.fault
    ]
    if not usable:
        return Inside(notes=tuple(notes))
    names = {name: f"{name} before {reference.steps[name]}" for name in usable}
    try:
        opened = inner(path, reference.signature, {name: reference.steps[name] for name in usable})
    except NotFound as error:
        return Inside(notes=(*notes, *(f"{name}: not looked at: {error}" for name in names.values())))
    notes += [f"{names[name]}: not looked at: not in the file's graph" for name in usable if name not in opened.outputs]
    found = {name: output for name, output in usable.items() if name in opened.outputs}
    comparison = parity.compare("", opened.run, replace(reference, outputs=found), sizes=sizes)
    outputs = tuple(replace(output, output=names[output.output]) for output in comparison.report.outputs)
    faults = (fault.partition(": ") for fault in comparison.faults)
    return Inside(outputs, tuple(f"{names[name]}: {fault}" for name, _, fault in faults), tuple(notes))
