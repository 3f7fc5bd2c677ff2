"""Replaying the golden sample: does this artifact, on this machine, with this runtime, still say what the model said?"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from models import chance
from models.content import Content, ContentError
from models.tensors import Array, Signature, Tensors, rows_of
from serving.backends.base import PipelinedSession, Session
from serving.engine import decided
from serving.engine.batch import OutputError, check_outputs


class ReplayError(Exception):
    """A session did not reproduce the golden sample; the message names the output, the difference and what was allowed."""


@dataclass(frozen=True, slots=True)
class _Judge:
    """What is demanded of outputs: how near they are, which may be random, and in which arithmetic they were computed."""

    tolerance: Mapping[str, float]
    random: Collection[str]
    precision: str | None


def replay(
    session: Session,
    signature: Signature,
    golden: tuple[Tensors, Tensors],
    tolerance: Mapping[str, float],
    *,
    random: Collection[str] = (),
    precision: str | None = None,
) -> None:
    """Run the golden sample alone and in the largest batch; raise ReplayError unless every output is reproduced.

    A session that computes other batch sizes in ways of their own runs it in each of these, too. `tolerance` is absolute,
    per output; an output that it does not name must be equal. One in `random` is judged by shape, datatype and finiteness
    alone; under a configured `precision` decisions are the judge (decided.py).
    """
    inputs, expected = golden
    judge = _Judge(tolerance, random, precision)
    if not signature.batched:
        _compare(session, signature, inputs, expected, judge)
        return
    rows = len(next(iter(inputs.values())))
    _compare(session, signature, rows_of(inputs, 0, 1), rows_of(expected, 0, 1), judge)
    own = session.buckets if isinstance(session, PipelinedSession) else ()
    for size in sorted({*own, signature.max_batch_size} - {1}):
        # The golden sample, over and over, until the batch is full.
        picked = np.arange(size) % rows
        _compare(session, signature, _picked(inputs, picked), _picked(expected, picked), judge)


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
    judge: _Judge,
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
        if spec.name in judge.random:
            if (fault := chance.unlike(found, wanted)) is not None:
                raise ReplayError(f"golden sample, {rows} rows: random output {spec.name!r}: {fault}")
            continue
        if judge.precision is not None and decided.is_number(spec):
            decisions = decided.decides(signature)
            fault = decided.unlike(spec, found, wanted, precision=judge.precision, decided=decisions)
            if fault is not None:
                raise ReplayError(f"golden sample, {rows} rows: output {spec.name!r} {fault}")
            continue
        allowed = judge.tolerance.get(spec.name, 0.0)
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
