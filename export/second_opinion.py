"""An imported model against itself: there is no eager model, so other ways of running the same file give their opinions.

ONNX Runtime answers with its optimisations, and what it answers is published. It is asked again without them, row by row,
and in the largest batch. The package onnx has a reference evaluator in plain numpy, which shares no code with it; where that
can run the file, it is asked too. What all these differ by is the noise floor of the file, if it is no more than noise.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from export import tolerance
from export.exporter import Run, first_line
from models.manifest import OutputParity
from models.tensors import Array, Signature, Tensors, rows_of

#: Rows that the reference evaluator is asked about: plain numpy takes seconds where a runtime takes milliseconds.
_REFERENCE_ROWS = 2

#: Rounding errors by which a replay may differ at least: another processor's kernels sum in another order than any tried
#: here, and a sum of 2¹⁶ terms, more than a layer adds up, then differs by √n of them. In datatypes of few bits that would
#: be everything; sums are kept in FP32 there, and a 64th is no noise.
_SUMMED = 256
_MOST_SUMMED = 1 / 64


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the golden sample will be. `reference` says what the reference evaluator made of the file."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    tolerance: dict[str, float]
    parity: tuple[OutputParity, ...]
    reference: str


class Contradiction(Exception):
    """Two ways of running one file disagree by more than rounding; the message names the output and by how much."""


def measure(run: Run, plain: Run, model: onnx.ModelProto, signature: Signature, inputs: Tensors) -> Opinion:
    """Run the file in every way there is; raise Contradiction where they disagree by more than rounding.

    `run` is the optimised session, `plain` the one that is not. `inputs` are no more rows than one execution takes.
    """
    outputs = run(inputs)
    others = [run(inputs), plain(inputs), *_in_parts(run, signature, inputs)]
    kept = _kept(signature, outputs, others)
    reference, judged = _referee(model, signature, inputs, outputs)
    parity = tuple(
        _judge(spec.name, outputs[spec.name], [other[spec.name] for other in others], judged.get(spec.name))
        for spec in signature.outputs
    )
    if signature.batched:
        inputs, outputs = ({name: array[kept] for name, array in tensors.items()} for tensors in (inputs, outputs))
    return Opinion(dict(inputs), dict(outputs), {one.output: one.tolerance for one in parity}, parity, reference)


def _judge(name: str, wanted: Array, others: Sequence[Array], judged: tuple[Array, Array] | None) -> OutputParity:
    """Return how far the ways of running one output are apart; raise Contradiction where that is no rounding.

    `judged` is what was found on a few rows and what the reference evaluator says of them.
    """
    if wanted.dtype.kind != "f":
        wrong = 0 if judged is None else int(np.count_nonzero(judged[0] != judged[1]))
        if judged is not None and wrong:
            raise Contradiction(f"{name}: onnx's reference evaluator says otherwise in {wrong} of {judged[0].size} values")
        share = min(float(np.mean(other == wanted)) if wanted.size else 1.0 for other in others)
        return OutputParity(name, 0.0, 0.0, 0.0, 0.0, share, 0, True)
    scale, least = tolerance.scale(wanted), tolerance.least(wanted)
    apart = max(_largest(other, wanted) for other in others)
    refereed = 0.0 if judged is None else _largest(*judged)
    # Half precision has few digits to lose: there, 16 units in the last place of the scale are no ill condition.
    epsilon = float(np.finfo(wanted.dtype).eps)
    share = max(tolerance.ILL_CONDITIONED, 16 * epsilon)
    if not apart <= share * scale + least:
        raise Contradiction(
            f"{name}: the same rows run in another way differ by {apart:.2g}, where the largest value is {scale:.2g}: "
            "the model is random or ill-conditioned, and no golden sample would prove anything"
        )
    # Measured by the rows it was asked about: others may be much larger, and a fault in these would pass for their noise.
    asked = scale if judged is None else tolerance.scale(judged[0])
    if not refereed <= share * asked + least:
        raise Contradiction(
            f"{name}: ONNX Runtime and onnx's reference evaluator differ by {refereed:.2g}, "
            f"where the largest value is {asked:.2g}"
        )
    apart = max(apart, refereed)
    floor = max(apart, least)
    allowed = max(tolerance.ALLOWED_FLOORS * floor, min(_SUMMED * epsilon, _MOST_SUMMED) * scale)
    return OutputParity(name, apart, apart / scale if scale else 0.0, floor, allowed, None, 0, True)


def _largest(one: Array, other: Array) -> float:
    return float(np.max(tolerance.difference(one, other), initial=0.0))


def _in_parts(run: Run, signature: Signature, inputs: Tensors) -> list[dict[str, Array]]:
    """Return the outputs of the same rows run one by one, and in the largest batch."""
    if not signature.batched:
        return []
    rows = len(next(iter(inputs.values())))
    alone = [run(rows_of(inputs, row, row + 1)) for row in range(rows)]
    repeated = np.arange(signature.max_batch_size) % rows
    largest = run({name: array[repeated] for name, array in inputs.items()})
    return [
        {name: np.concatenate([part[name] for part in alone]) for name in alone[0]},
        {name: array[:rows] for name, array in largest.items()},
    ]


def _kept(signature: Signature, outputs: Tensors, others: Sequence[Tensors]) -> Array:
    """Return the rows whose integers and texts are the same in every way of running them."""
    discrete = [spec.name for spec in signature.outputs if outputs[spec.name].dtype.kind != "f"]
    rows = len(next(iter(outputs.values()))) if signature.batched else 1
    equal = np.ones(rows, np.bool_)
    for name in discrete:
        for other in others:
            equal &= (outputs[name] == other[name]).reshape(rows, -1).all(axis=1)
    if not equal.any():
        raise Contradiction(f"{', '.join(discrete)}: no row gets the same answer each time: the model is random")
    return np.flatnonzero(equal)


def _referee(
    model: onnx.ModelProto, signature: Signature, inputs: Tensors, outputs: Tensors
) -> tuple[str, Mapping[str, tuple[Array, Array]]]:
    """Return what the reference evaluator made of the file, and per output what was found and what it says."""
    few = rows_of(inputs, 0, _REFERENCE_ROWS) if signature.batched else inputs
    names = [spec.name for spec in signature.outputs]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # its numpy divides by zero and overflows where a kernel says nothing
            found = dict(zip(names, ReferenceEvaluator(model).run(names, dict(few)), strict=True))
    except Exception as error:  # noqa: BLE001 - it knows fewer operators than a runtime, and says so in many ways
        return f"not checked by onnx's reference evaluator, which cannot run it: {first_line(error)}", {}
    wanted = rows_of(outputs, 0, _REFERENCE_ROWS) if signature.batched else outputs
    pairs = {name: (wanted[name], np.asarray(found[name])) for name in names}
    strange = [name for name, (one, other) in pairs.items() if one.shape != other.shape]
    if strange:
        one, other = pairs[strange[0]]
        raise Contradiction(
            f"{strange[0]}: ONNX Runtime gives shape {list(one.shape)}, onnx's reference evaluator {list(other.shape)}"
        )
    return f"checked by onnx's reference evaluator on {_shown_rows(signature, few)}", pairs


def _shown_rows(signature: Signature, few: Tensors) -> str:
    rows = len(next(iter(few.values()))) if signature.batched else 1
    return f"{rows} row{'s' if rows > 1 else ''}"
