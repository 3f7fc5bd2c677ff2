"""Replaying the golden sample: does this artifact, on this machine, with this runtime, still say what the model said?"""

from collections.abc import Collection, Mapping

import numpy as np

from models import chance
from models.content import Content, ContentError
from models.tensors import Array, Signature, Tensors, rows_of
from serving.backends.base import Session
from serving.engine.batch import OutputError, check_outputs


class ReplayError(Exception):
    """A session did not reproduce the golden sample; the message names the output, the difference and what was allowed."""


def replay(
    session: Session,
    signature: Signature,
    golden: tuple[Tensors, Tensors],
    tolerance: Mapping[str, float],
    *,
    random: Collection[str] = (),
) -> None:
    """Run the golden sample alone and in the largest batch; raise ReplayError unless every output is reproduced.

    `tolerance` is absolute, per output; an output that it does not name must be equal. One in `random` is judged by shape,
    datatype and finiteness alone.
    """
    inputs, expected = golden
    if not signature.batched:
        _compare(session, signature, inputs, expected, tolerance, random)
        return
    rows = len(next(iter(inputs.values())))
    # The golden sample, over and over, until the largest batch is full.
    largest = np.arange(signature.max_batch_size) % rows
    _compare(session, signature, rows_of(inputs, 0, 1), rows_of(expected, 0, 1), tolerance, random)
    _compare(session, signature, _picked(inputs, largest), _picked(expected, largest), tolerance, random)


def replay_content(content: Content, inputs: Tensors) -> None:
    """Write the first golden input as people would send it and read it back; raise ReplayError unless it is the same."""
    try:
        same = content.input.restores(rows_of(inputs, 0, 1))
    except ContentError as error:
        raise ReplayError(f"golden sample: sent as people would, it is refused: {error}") from error
    if not same:
        raise ReplayError("golden sample: sent as people would, it is read as other values")


def _compare(
    session: Session,
    signature: Signature,
    inputs: Tensors,
    expected: Tensors,
    tolerance: Mapping[str, float],
    random: Collection[str],
) -> None:
    try:
        rows = signature.check(inputs)
        outputs = session.run(inputs)
        check_outputs(signature, outputs, rows)
    except OutputError as error:
        raise ReplayError(f"golden sample: {error}") from error
    except Exception as error:  # a runtime may raise anything
        raise ReplayError(f"golden sample: cannot be run: {error}") from error
    for spec in signature.outputs:
        found, wanted = outputs[spec.name], expected[spec.name]
        if spec.name in random:
            if (fault := chance.unlike(found, wanted)) is not None:
                raise ReplayError(f"golden sample, {rows} rows: random output {spec.name!r}: {fault}")
            continue
        allowed = tolerance.get(spec.name, 0.0)
        if not _agree(found, wanted, allowed):
            difference = f"differs by up to {_difference(found, wanted):.3g}, allowed are {allowed:.3g}"
            raise ReplayError(f"golden sample, {rows} rows: output {spec.name!r} {difference}")


def _agree(found: Array, wanted: Array, allowed: float) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if found.dtype.kind != "f":
        return bool(np.array_equal(found, wanted))
    return bool(np.allclose(found, wanted, rtol=0.0, atol=allowed, equal_nan=True))


def _difference(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape or found.dtype.kind not in "biuf":
        return float("nan")
    return float(np.nanmax(np.abs(found.astype(np.float64) - wanted.astype(np.float64)), initial=0.0))


def _picked(tensors: Tensors, rows: Array) -> Tensors:
    return {name: array[rows] for name, array in tensors.items()}
