"""Request bodies and the answers they must get, built once from a version's golden sample.

The encoder is the standard library's, not the server's: a fault in the server's own cannot hide here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import chance
from models.content import Content, ValueContent
from models.manifest import Manifest
from models.repository import Repository, RepositoryError
from models.tensors import Array, Tensors, rows_of


class WrongAnswer(Exception):
    """The server answered, with something else than the model would have said."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One golden row: as a V2 JSON body, as an image file where people send one, and what must come back."""

    v2_json: bytes
    file: bytes | None
    outputs: Tensors
    manifest: Manifest
    digest: str

    def check_v2(self, body: Any) -> None:  # Any: whatever the server sent
        """Raise WrongAnswer unless a V2 JSON answer has every output, each within its tolerance."""
        self._check(body, {"model_name": self.manifest.model, "model_version": str(self.manifest.version)})
        found = {output["name"]: output for output in body.get("outputs", [])}
        for spec in self.manifest.signature.outputs:
            output, expected = found.get(spec.name), self.outputs[spec.name]
            if output is None or output["datatype"] != spec.datatype:
                raise WrongAnswer(f"expected output {spec.name!r} as {spec.datatype}, found {output!r:.200}")
            values = np.array(output["data"], dtype=expected.dtype).reshape(output["shape"])
            self._compare(spec.name, values, expected)

    def check_predict(self, body: Any) -> None:  # Any: whatever the server sent
        """Raise WrongAnswer unless a /predict answer has the right label and scores, or values, and digest."""
        told = self._content().output
        version = {"model": self.manifest.model, "version": str(self.manifest.version), "digest": f"sha256:{self.digest}"}
        if isinstance(told, ValueContent):
            self._check(body, {"unit": told.unit, **version})
            for key, name in {"value": told.value, **{name: name for name in told.others}}.items():
                self._compare(name, np.array([body[key]], dtype=np.float32), self.outputs[name])
            return
        label = told.labels[int(self.outputs[told.decision][0])]
        decided = {} if self._random(told.decision) else {"label": label, "score": body["labels"][label]}
        self._check(body, {**decided, **version})
        scores = np.array([[body["labels"][name] for name in told.labels]], dtype=np.float32)
        self._compare(told.scores, scores, self.outputs[told.scores])

    def _check(self, body: Any, expected: dict[str, object]) -> None:
        """Raise WrongAnswer unless the answer's fields have these values."""
        for field, value in expected.items():
            if not isinstance(body, dict) or body.get(field) != value:
                raise WrongAnswer(f"{field}: expected {value!r}, found {body!r:.200}")

    def check_headers(self, version: str | None) -> None:
        """Raise WrongAnswer unless the `Sameway-Version` header, where there is one, names the golden sample's version."""
        expected = f"{self.manifest.model}/{self.manifest.version} sha256:{self.digest}"
        if version not in (None, expected):
            raise WrongAnswer(f"Sameway-Version: expected {expected}, found {version}")

    def _random(self, name: str) -> bool:
        """Tell whether an output is another each time, so that nobody can expect its values."""
        return any(name in artifact.random for artifact in self.manifest.artifacts)

    def _compare(self, name: str, found: Array, expected: Array) -> None:
        if self._random(name):
            if (fault := chance.unlike(found, expected)) is not None:
                raise WrongAnswer(f"random output {name!r}: {fault}")
            return
        # The load test cannot see which artifact is served, so the widest of their tolerances holds.
        allowed = max(artifact.tolerance.get(name, 0.0) for artifact in self.manifest.artifacts)
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=allowed, equal_nan=True):
            raise WrongAnswer(f"output {name!r}: expected {expected.ravel()[:4]}, found {found.ravel()[:4]}")

    def _content(self) -> Content:
        if self.manifest.content is None:
            raise WrongAnswer("this version has no content")
        return self.manifest.content


def golden_samples(repository: Path, model: str, version: int) -> list[Sample]:
    """Return every golden row of a version; raise RepositoryError where the repository does not hold it."""
    opened = Repository(repository).open(model, version)
    manifest = opened.manifest
    if not manifest.signature.batched:
        raise RepositoryError(f"{model}/{version}: expected a model with a batch axis")
    inputs, outputs = opened.golden()
    samples = []
    for row in range(manifest.golden.rows):
        tensors = rows_of(inputs, row, row + 1)
        content = manifest.content
        file = None if content is None else content.input.write(tensors)
        samples.append(Sample(_v2_json(manifest, tensors), file, rows_of(outputs, row, row + 1), manifest, opened.digest))
    return samples


def _v2_json(manifest: Manifest, tensors: Tensors) -> bytes:
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": list(tensors[spec.name].shape),
            "data": tensors[spec.name].ravel().tolist(),
        }
        for spec in manifest.signature.inputs
    ]
    return json.dumps({"inputs": inputs}).encode()
