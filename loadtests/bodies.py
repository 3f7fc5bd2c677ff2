"""Samples: what is sent, and what must come back. Built once, before the load, and read by every generator process.

A `Case` is what all samples of a model share: who must answer, and how exactly. Its expected answers are a version's golden
sample, or what the server itself said when it was asked about one sample at a time (asked.py).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loadtests import wire
from loadtests.said import brief, words
from models import chance
from models.content import Content, LabelContent, ValueContent
from models.repository import Repository, RepositoryError
from models.tensors import Array, Signature, Tensors, TensorSpec, rows_of

#: Different bytes that are right for one sample: sums in batches of other sizes differ in their last bits. Enough for all
#: batches there are; beyond it answers are decoded each time.
_REMEMBERED = 64


class WrongAnswer(Exception):
    """The server answered, with something else than the model would have said."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model as a client knows it. `source` says where the expected answers are from.

    Numbers may differ by `absolute[output]` plus `relative` times the expected one; outputs in `random` are another each
    time, so that only their shape and finiteness can be expected.
    """

    model: str
    version: str | None
    digest: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    content: Content | None
    absolute: dict[str, float]
    relative: float
    random: frozenset[str]
    source: str

    def compare(self, name: str, found: Array, expected: Array) -> None:
        """Raise WrongAnswer unless an output's values are the expected ones, as exactly as they can be."""
        if name in self.random:
            if (fault := chance.unlike(found, expected)) is not None:
                raise WrongAnswer(f"random output {name!r}: {fault}")
            return
        if not self.agree(name, found, expected):
            wanted, given = (words(str(array.ravel()[:4].tolist()), 100) for array in (expected, found))
            raise WrongAnswer(f"output {name!r}: expected {wanted}, found {given}")

    def agree(self, name: str, found: Array, expected: Array) -> bool:
        """Tell whether two answers are the same within the tolerance."""
        if found.shape != expected.shape:
            return False
        if expected.dtype.kind not in "fiu":
            return bool(np.array_equal(found, expected))
        if next((spec.datatype for spec in self.outputs if spec.name == name), "") == "BF16":
            found, expected = ((array.astype(np.uint32) << 16).view(np.float32) for array in (found, expected))
        allowed = self.absolute.get(name, 0.0)
        return np.allclose(found, expected, rtol=self.relative, atol=allowed, equal_nan=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row: as a V2 JSON body, as V2 binary, as content where people send some, and what must come back."""

    case: Case
    v2_json: bytes
    v2_binary: bytes
    binary_head: int
    file: bytes | None
    outputs: Tensors
    right: set[tuple[str, bytes]] = field(default_factory=set, compare=False, repr=False)

    def check(self, payload: str, body: bytes, json_length: str | None = None) -> None:
        """Raise WrongAnswer or WireError unless an answer is right. Bytes that were right once are not decoded again."""
        if (payload, body) in self.right:
            return
        if payload == "content":
            self.check_predict(_json(body))
        else:
            self._check_v2(*wire.decode(body, json_length))
        if len(self.right) < _REMEMBERED and not self.case.random:
            self.right.add((payload, body))

    def check_v2(self, body: Any) -> None:  # Any: whatever the server sent
        """Raise WrongAnswer unless a V2 JSON answer has every output, each within its tolerance."""
        self._check_v2(*wire.decode(json.dumps(body).encode(), None))

    def _check_v2(self, body: Any, found: dict[str, tuple[str, Array]]) -> None:
        self._check(body, {"model_name": self.case.model})
        if self.case.version is not None:
            self._check(body, {"model_version": self.case.version})
        for spec in self.case.outputs:
            datatype, values = found.get(spec.name, ("none", None))
            if values is None or datatype != spec.datatype:
                raise WrongAnswer(f"expected output {spec.name!r} as {spec.datatype}, found {datatype}")
            self.case.compare(spec.name, values, self.outputs[spec.name])

    def check_predict(self, body: Any) -> None:  # Any: whatever the server sent
        """Raise WrongAnswer unless a /predict answer has the right label and scores, or values, and digest."""
        if self.case.content is None:
            raise WrongAnswer("this version has no content")
        told = self.case.content.output
        version = {"model": self.case.model, "version": self.case.version, "digest": f"sha256:{self.case.digest}"}
        try:
            if isinstance(told, ValueContent):
                self._check(body, {"unit": told.unit, **version})
                for key, name in {"value": told.value, **{name: name for name in told.others}}.items():
                    self.case.compare(name, np.array([body[key]], dtype=np.float32), self.outputs[name])
                return
            self._check_label(body, told, version)
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise WrongAnswer(f"expected what /predict says of this model, found {brief(body)}") from error

    def _check_label(self, body: Any, told: LabelContent, version: dict[str, str | None]) -> None:
        label = told.labels[int(self.outputs[told.decision][0])]
        decided = {} if told.decision in self.case.random else {"label": label, "score": body["labels"][label]}
        self._check(body, {**decided, **version})
        scores = np.array([[body["labels"][name] for name in told.labels]], dtype=np.float32)
        self.case.compare(told.scores, scores, self.outputs[told.scores])

    def _check(self, body: Any, expected: dict[str, Any]) -> None:
        """Raise WrongAnswer unless the answer's fields have these values."""
        for name, value in expected.items():
            if not isinstance(body, dict) or body.get(name) != value:
                raise WrongAnswer(f"{name}: expected {value!r}, found {brief(body)}")

    def check_headers(self, version: str | None) -> None:
        """Raise WrongAnswer unless the `Sameway-Version` header, where there is one, names the version asked for."""
        if self.case.digest is None:
            return
        expected = f"{self.case.model}/{self.case.version} sha256:{self.case.digest}"
        if version not in (None, expected):
            raise WrongAnswer(f"Sameway-Version: expected {expected}, found {brief(version)}")


def _json(body: bytes) -> Any:  # Any: JSON
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise wire.WireError(f"expected JSON, found {body[:120]!r}") from error


def make_sample(case: Case, inputs: Tensors, outputs: Tensors) -> Sample:
    """Return one row with every body that it can travel as; the JSON body is empty where a datatype has no JSON."""
    as_json = not any(spec.datatype in wire.BINARY_ONLY for spec in (*case.inputs, *case.outputs))
    binary, head = wire.encode_binary(case.inputs, inputs)
    file = None if case.content is None else case.content.input.write(inputs)
    return Sample(case, wire.encode_json(case.inputs, inputs) if as_json else b"", binary, head, file, outputs)


def golden_samples(repository: Path, model: str, version: int) -> list[Sample]:
    """Return every golden row of a version; raise RepositoryError where the repository does not hold it."""
    opened = Repository(repository).open(model, version)
    manifest = opened.manifest
    # The load test cannot see which artifact is served, so the widest of their tolerances holds.
    widest = {
        spec.name: max(artifact.tolerance.get(spec.name, 0.0) for artifact in manifest.artifacts)
        for spec in manifest.signature.outputs
    }
    case = Case(
        manifest.model,
        str(manifest.version),
        opened.digest,
        manifest.signature.inputs,
        manifest.signature.outputs,
        manifest.content,
        widest,
        0.0,
        frozenset(name for artifact in manifest.artifacts for name in artifact.random),
        "golden sample of the repository",
    )
    inputs, outputs = opened.golden()
    if not manifest.signature.batched:
        return [make_sample(case, inputs, outputs)]
    rows = range(manifest.golden.rows)
    return [make_sample(case, rows_of(inputs, row, row + 1), rows_of(outputs, row, row + 1)) for row in rows]


def newest_golden(repository: Path, model: str, versions: list[str]) -> list[Sample]:
    """Return the golden rows of the newest of these versions; raise RepositoryError where none is in the repository."""
    numbers = sorted(int(version) for version in versions if version.isascii() and version.isdigit() and len(version) < 10)
    if not numbers:
        raise RepositoryError(f"{model}: expected a numbered version, found {brief(versions) if versions else 'none'}")
    return golden_samples(repository, model, numbers[-1])


def distinct(samples: list[Sample]) -> int:
    """Return how many samples have an answer that no earlier one has: a swap between equal ones cannot be seen."""
    told: list[Sample] = []
    for sample in samples:
        if not any(same_answer(sample, other) for other in told):
            told.append(sample)
    return len(told)


def same_answer(one: Sample, other: Sample) -> bool:
    """Tell whether one sample's right answer would pass for the other's."""
    names = [spec.name for spec in one.case.outputs if spec.name not in one.case.random]
    return all(one.case.agree(name, one.outputs[name], other.outputs[name]) for name in names)


def signature_of(case: Case) -> Signature:
    """Return inputs and outputs as a signature of whole shapes: what generated inputs are made for."""
    return Signature(case.inputs, case.outputs, 0)
