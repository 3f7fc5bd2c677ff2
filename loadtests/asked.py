"""Expected answers from the server itself: asked about one sample at a time, twice, while nobody else is (we hope) there.

A fault that is there for every request alone is not seen this way; one that comes with load, batches and neighbours is. A
report says which of the two sources its expectations have.
"""

import http.client
from collections.abc import Iterator
from typing import Any

import numpy as np

from loadtests import wire
from loadtests.bodies import Case, Sample, make_sample, signature_of
from loadtests.server import Answer, CannotRun, Server
from models import generated
from models.tensors import Array, SignatureError, Tensors, TensorSpec

#: As many as a usual golden sample has rows.
SAMPLES = 32

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
    shapes = list(_shapes(inputs))
    for length, batched in shapes:
        case = Case(
            model, None, None, _filled(inputs, length, batched=batched), outputs, None, {}, RELATIVE, frozenset(), ""
        )
        try:
            first = _ask(server, case, _inputs(case, 0))
        except Refused as error:
            if (length, batched) == shapes[-1]:
                raise CannotRun(
                    f"{model}: the server refuses generated inputs, of which no real ones are known: {error}; "
                    "give it the model's golden sample with --repository"
                ) from error
            continue
        return _collect(server, case, first, count)
    raise AssertionError("there is always a shape to try")


class Refused(Exception):
    """The server did not answer a single sample; the message says what it said instead."""


def _collect(server: Server, case: Case, first: tuple[str | None, Tensors], count: int) -> list[Sample]:
    """Ask about every sample twice: what differs then is random, and can be expected no more exactly than by its shape."""
    version, answers, random = first[0], [], set()
    probe = Case(case.model, version, None, case.inputs, case.outputs, None, {}, RELATIVE, frozenset(), "")
    probe = _with(probe, random=frozenset())
    rows = [_inputs(case, number) for number in range(count)]
    try:
        for row in rows:
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
    body, head = wire.encode_binary(case.inputs, row)
    headers = {"content-type": "application/octet-stream", wire.JSON_LENGTH: str(head)}
    answer = _sent(server, f"/v2/models/{case.model}/infer", body, headers)
    if answer.status != 200:  # a server without the binary extension
        as_json = {"content-type": "application/json"}
        answer = _sent(server, f"/v2/models/{case.model}/infer", wire.encode_json(case.inputs, row), as_json)
    if answer.status != 200:
        raise Refused(f"status {answer.status}: {' '.join(answer.body.decode(errors='replace').split())[:200]}")
    try:
        told, found = wire.decode(answer.body, answer.headers.get(wire.JSON_LENGTH))
    except wire.WireError as error:
        raise Refused(str(error)) from error
    for spec in case.outputs:
        if found.get(spec.name, ("none",))[0] != spec.datatype:
            raise Refused(f"expected output {spec.name!r} as {spec.datatype}, as the metadata say")
    version = told.get("model_version")
    return (None if version is None else str(version)), {spec.name: found[spec.name][1] for spec in case.outputs}


def _sent(server: Server, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    try:
        return server.ask(path, body, headers)
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"no answer: {error}") from error


def _specs(tensors: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """Return a server's description as specs of whole shapes; -1 is a free axis."""
    return tuple(
        TensorSpec(tensor["name"], tensor["datatype"], tuple(None if axis < 0 else int(axis) for axis in tensor["shape"]))
        for tensor in tensors
    )


def _shapes(inputs: tuple[TensorSpec, ...]) -> Iterator[tuple[int, bool]]:
    """Yield lengths for free axes, and whether every input's first is the batch axis: taken for it where it is free."""
    batched = all(spec.shape and spec.shape[0] is None for spec in inputs)
    free = any(axis is None for spec in inputs for axis in (spec.shape[1:] if batched else spec.shape))
    for length in _LENGTHS if free else _LENGTHS[:1]:
        yield length, batched
    if batched:
        yield _LENGTHS[0], False


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
