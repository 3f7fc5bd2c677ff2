"""Expected answers from the server itself: asked about one sample at a time, twice, while nobody else is (we hope) there.

A fault that is there for every request alone is not seen this way; one that comes with load, batches and neighbours is. A
report says which of the two sources its expectations have.
"""

import math
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np

from loadtests import wire
from loadtests.bodies import Case, Sample, make_sample, signature_of
from loadtests.said import brief, words
from loadtests.server import Answer, CannotRun, NoAnswer, Server
from models import generated
from models.tensors import Array, SignatureError, Tensors, TensorSpec

#: As many as a usual golden sample has rows.
SAMPLES = 32

#: Values that all inputs of all samples hold together, at most: each is written as JSON, too, with ten bytes or more.
_MOST_VALUES = 1 << 24

#: A slow model is asked about fewer samples: about two at least, and no more after so long.
_FEWEST, _PATIENCE_SECONDS = 2, 60.0

#: What the sums of one runtime differ between a row alone and the same row in a batch: float32, a network of usual depth.
RELATIVE, ABSOLUTE = 1e-4, 1e-5

#: Lengths of free axes that are tried until the server takes one; the first suits most models.
_LENGTHS = (8, 1, 5, 64, 28, 224)


def asked_samples(server: Server, model: str, metadata: dict[str, Any], *, count: int = SAMPLES) -> list[Sample]:
    """Return generated samples with the answers that the server gives to each alone; raise CannotRun. Any: JSON."""
    try:
        inputs, outputs = _specs(metadata["inputs"]), _specs(metadata["outputs"])
    except SignatureError as error:
        raise CannotRun(f"{model}: {error}") from error
    tried = [(filled, _affordable(filled)) for filled in _shapes(inputs)]
    if not (shapes := [(filled, most) for filled, most in tried if most >= _FEWEST]):
        told = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in tried[0][0])
        expected = f"inputs of {_MOST_VALUES // _FEWEST:,} values at most, or the golden sample by --repository"
        raise CannotRun(f"{model}: expected {expected}; found {words(told)}")
    for filled, most in shapes:
        case = Case(model, None, None, filled, outputs, None, {}, RELATIVE, frozenset(), "")
        try:
            first = _ask(server, case, _inputs(case, 0))
        except Refused as error:
            if filled is shapes[-1][0]:
                raise CannotRun(
                    f"{model}: the server refuses generated inputs, of which no real ones are known: {error}; "
                    "give it the model's golden sample with --repository"
                ) from error
            continue
        return _collect(server, case, first, min(count, most))
    raise AssertionError("there is always a shape to try")


class Refused(Exception):
    """The server did not answer a single sample; the message says what it said instead."""


def _collect(server: Server, case: Case, first: tuple[str | None, Tensors], count: int) -> list[Sample]:
    """Ask about every sample twice: what differs then is random, and can be expected no more exactly than by its shape."""
    version, answers, random = first[0], [], set()
    probe = Case(case.model, version, None, case.inputs, case.outputs, None, {}, RELATIVE, frozenset(), "")
    probe = _with(probe, random=frozenset())
    rows: list[dict[str, Array]] = []
    late = time.monotonic() + _PATIENCE_SECONDS
    try:
        while len(rows) < count and (len(rows) < _FEWEST or time.monotonic() < late):
            row = _inputs(case, len(rows))
            rows.append(row)
            told, again = (_ask(server, case, row)[1] for _ in range(2))
            answers.append(told)
            random |= {spec.name for spec in case.outputs if not probe.agree(spec.name, again[spec.name], told[spec.name])}
    except Refused as error:
        raise CannotRun(f"{case.model}: the server failed before there was any load: {error}") from error
    final = _with(probe, random=frozenset(random))
    return [make_sample(final, row, told) for row, told in zip(rows, answers, strict=True)]


def _with(case: Case, *, random: frozenset[str]) -> Case:
    floats = {spec.name: ABSOLUTE for spec in case.outputs if spec.dtype.kind == "f" or spec.datatype == "BF16"}
    source = "the server itself, asked about one sample at a time before the load"
    return Case(
        case.model, case.version, None, case.inputs, case.outputs, None, floats, RELATIVE if floats else 0.0, random, source
    )


def _ask(server: Server, case: Case, row: Tensors) -> tuple[str | None, Tensors]:
    """Return the version that answers one row, and its outputs; raise Refused."""
    path = f"/v2/models/{quote(case.model, safe='')}/infer"
    body, head = wire.encode_binary(case.inputs, row)
    headers = {"content-type": "application/octet-stream", wire.JSON_LENGTH: str(head)}
    answer = _sent(server, path, body, headers)
    if answer.status != 200 and not {spec.datatype for spec in case.inputs} & set(wire.BINARY_ONLY):
        as_json = {"content-type": "application/json"}  # a server without the binary extension
        answer = _sent(server, path, wire.encode_json(case.inputs, row), as_json)
    if answer.status != 200:
        raise Refused(f"status {answer.status}: {words(answer.body)}")
    try:
        told, found = wire.decode(answer.body, answer.headers.get(wire.JSON_LENGTH))
    except wire.WireError as error:
        raise Refused(str(error)) from error
    for spec in case.outputs:
        if found.get(spec.name, ("none",))[0] != spec.datatype:
            raise Refused(f"expected output {spec.name!r} as {spec.datatype}, as the metadata say")
    version = told.get("model_version")
    if version is not None and not isinstance(version, str):
        raise Refused(f"model_version: expected a text, found {brief(version)}")
    return version, {spec.name: found[spec.name][1] for spec in case.outputs}


def _sent(server: Server, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    try:
        return server.ask(path, body, headers)
    except NoAnswer as error:
        raise Refused(f"no answer: {error}") from error


def _affordable(filled: tuple[TensorSpec, ...]) -> int:
    """Return how many samples of such inputs can be held."""
    return _MOST_VALUES // max(1, sum(math.prod(axis or 0 for axis in spec.shape) for spec in filled))


def _specs(tensors: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """Return a server's description as specs of whole shapes; -1 is a free axis."""
    return tuple(
        TensorSpec(tensor["name"], tensor["datatype"], tuple(None if axis < 0 else int(axis) for axis in tensor["shape"]))
        for tensor in tensors
    )


def _shapes(inputs: tuple[TensorSpec, ...]) -> Iterator[tuple[TensorSpec, ...]]:
    """Yield the inputs with lengths for free axes; every input's first is taken for the batch axis where it is free."""
    batched = all(spec.shape and spec.shape[0] is None for spec in inputs)
    free = any(axis is None for spec in inputs for axis in (spec.shape[1:] if batched else spec.shape))
    for length in _LENGTHS if free else _LENGTHS[:1]:
        yield _filled(inputs, length, batched=batched)
    if batched:
        yield _filled(inputs, _LENGTHS[0], batched=False)


def _filled(inputs: tuple[TensorSpec, ...], length: int, *, batched: bool) -> tuple[TensorSpec, ...]:
    """Return the specs with every free axis given a length: 1 for the batch."""
    filled = []
    for spec in inputs:
        shape = [length if axis is None else axis for axis in spec.shape]
        if batched:
            shape[0] = 1
        filled.append(TensorSpec(spec.name, spec.datatype, tuple(shape)))
    return tuple(filled)


def _inputs(case: Case, number: int) -> dict[str, Array]:
    """Return inputs, others for every number. Bytes have their whole range: inputs that differ have answers that differ."""
    made = generated.inputs(signature_of(case), rows=1, length=1, seed=number)
    for spec in case.inputs:
        if spec.datatype == "UINT8":
            shape = tuple(axis or 1 for axis in spec.shape)
            made[spec.name] = np.random.default_rng((number, 1)).integers(0, 256, shape, dtype=np.uint8)
    return made
