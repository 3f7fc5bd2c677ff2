"""May rows of different clients share an execution? Tried on an opened model, for nobody vouches for it.

Serving asks this of files without a manifest, export of those it imports. A free first axis need not be a batch axis: a
model that sums over it puts one client's data into another's answer. So rows are run alone, together, in another order and
in the largest batch, and with other neighbours: a row must get the same answer every time. What this finds is proof that
rows are *not* independent; that it finds nothing is good evidence and no proof.
"""

from collections.abc import Callable, Iterator

import numpy as np

from models import generated
from models.tensors import Array, Signature, Tensors, TensorSpec, rows_of

#: An opened model that raises where its outputs are not as many rows, of the datatype and shape, as the signature says.
Run = Callable[[Tensors], Tensors]

#: The largest batch that is tried, and then allowed. Small networks gain little beyond it, and each step up doubles what a
#: load costs in memory and time; whoever knows better states `max_batch_size`.
PROBED_ROWS = 32

#: Rows compared one by one: an odd number, and few, as each costs an execution.
_COMPARED = 7

#: Another batch size may mean another order of summation, and a sum of n terms then differs by √n rounding errors or so.
#: 2¹⁶ terms, more than a layer adds up, give 2⁸. A row's largest value is the scale, as sums may cancel out.
_NOISE = 256

#: In datatypes of few bits that would be everything; sums are kept in FP32 there, and a 64th is no noise.
_LARGEST_NOISE = 1 / 64

#: The distance from 1 to the next number; numpy does not know BF16, which has 8 bits of it.
_BFLOAT16_EPSILON = 2.0**-7


def dependence(run: Run, signature: Signature) -> str | None:
    """Return how a row's answer depends on its company; None where nothing of the kind was found.

    `signature` is the one under which rows would be batched. Whatever a runtime raises counts as dependence: rows that
    cannot be run together are not to be run together.
    """
    shown, refusal = False, "no length of its free axes could be tried"
    for length in generated.lengths(signature):
        rows = generated.inputs(signature, rows=PROBED_ROWS, length=length)
        try:
            _run(run, rows_of(rows, 0, 1))
        except Exception as error:  # noqa: BLE001 - a runtime may raise anything
            refusal = f"random rows cannot be run: {_first_line(error)}"
            continue
        found = dependence_of(run, signature, rows)
        if found is not None:
            return found
        shown = True
    return None if shown else refusal


def dependence_of(run: Run, signature: Signature, rows: Tensors) -> str | None:
    """Return how these rows' answers depend on their company. There are PROBED_ROWS of them, or at least a few."""
    try:
        return _dependence(run, signature, rows)
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        return f"rows run alone and not together: {_first_line(error)}"


def _dependence(run: Run, signature: Signature, rows: Tensors) -> str | None:
    """Return how the first rows' answers depend on their company, for one length of the free axes."""
    count = len(next(iter(rows.values())))
    if count < 2 * _COMPARED:
        return f"there are {count} rows, and fewer than {2 * _COMPARED} show nothing"
    alone = [_run(run, rows_of(rows, row, row + 1)) for row in range(_COMPARED)]
    if all(_equal(spec, alone[0][spec.name], other[spec.name]) for other in alone[1:] for spec in signature.outputs):
        return "the rows tried all get one answer, which shows nothing"
    for order in _orders(count):
        together = _run(run, _picked(rows, order))
        for row in range(_COMPARED):
            (place,) = np.flatnonzero(order == row)
            for spec in signature.outputs:
                if not _agree(spec, alone[row][spec.name][0], together[spec.name][place]):
                    return f"output {spec.name!r} of a row is another among {len(order)} rows than alone"
    few = rows_of(rows, 0, _COMPARED)
    before = _run(run, few)
    for neighbours in _neighbours(signature, rows):
        after = _run(run, neighbours)
        for spec in signature.outputs:
            # The same size and the same places: not even the order of summation may have changed.
            if not _equal(spec, before[spec.name][::2], after[spec.name][::2]):
                return f"output {spec.name!r} of a row changes with the rows beside it"
    return None


def _orders(count: int) -> Iterator[Array]:
    """Yield orders of rows, each with the first few among them: as they are, turned round, and anywhere in a full batch."""
    yield np.arange(_COMPARED)
    yield np.arange(_COMPARED)[::-1]
    yield np.random.default_rng(0).permutation(count)


def _neighbours(signature: Signature, rows: Tensors) -> Iterator[Tensors]:
    """Yield the first few rows with every second one replaced: by others, by zeros, by what is no number, by infinity."""
    others = {name: array[_COMPARED : 2 * _COMPARED] for name, array in rows.items()}
    fractions = [spec for spec in signature.inputs if _is_fraction(spec)]
    yield _replaced(rows, others)
    yield _replaced(rows, {spec.name: _zeros(spec, others[spec.name]) for spec in signature.inputs})
    for value in (np.nan, np.inf) if fractions else ():
        poison = {spec.name: _filled(spec, others[spec.name], value) for spec in fractions}
        yield _replaced(rows, {**others, **poison})


def _replaced(rows: Tensors, others: Tensors) -> Tensors:
    few = {name: array[:_COMPARED].copy() for name, array in rows.items()}
    for name, array in few.items():
        array[1::2] = others[name][1::2]
    return few


def _zeros(spec: TensorSpec, like: Array) -> Array:
    return np.full(like.shape, "0", object) if spec.datatype == "BYTES" else np.zeros_like(like)


def _filled(spec: TensorSpec, like: Array, value: float) -> Array:
    filled = np.full(like.shape, value, np.float32)
    return generated.bfloat16(filled) if spec.datatype == "BF16" else filled.astype(spec.dtype)


def _run(run: Run, rows: Tensors) -> Tensors:
    return run({name: np.ascontiguousarray(array) for name, array in rows.items()})


def _picked(rows: Tensors, order: Array) -> Tensors:
    return {name: array[order] for name, array in rows.items()}


def _is_fraction(spec: TensorSpec) -> bool:
    return spec.datatype == "BF16" or spec.dtype.kind == "f"


def _agree(spec: TensorSpec, alone: Array, together: Array) -> bool:
    """Tell whether two answers to one row are equal within the noise of their datatype."""
    if not _is_fraction(spec) or alone.shape != together.shape:
        return _equal(spec, alone, together)
    wide, other = _wide(spec, alone), _wide(spec, together)
    finite = np.isfinite(wide)
    if not np.array_equal(finite, np.isfinite(other)) or not np.array_equal(wide[~finite], other[~finite], equal_nan=True):
        return False
    epsilon = _BFLOAT16_EPSILON if spec.datatype == "BF16" else float(np.finfo(spec.dtype).eps)
    scale = float(np.abs(wide[finite]).max(initial=0.0))
    return bool(np.all(np.abs(wide[finite] - other[finite]) <= min(_NOISE * epsilon, _LARGEST_NOISE) * scale))


def _equal(spec: TensorSpec, one: Array, other: Array) -> bool:
    """Tell whether two outputs are equal, not a number to not a number."""
    if not _is_fraction(spec):
        return bool(np.array_equal(one, other))
    return bool(np.array_equal(_wide(spec, one), _wide(spec, other), equal_nan=True))


def _wide(spec: TensorSpec, array: Array) -> Array:
    if spec.datatype == "BF16":
        return np.asarray((array.astype(np.uint32) << 16).view(np.float32), np.float64)
    return array.astype(np.float64)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
