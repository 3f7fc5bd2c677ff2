"""The manifest: what is true of one version for ever, written once by export and believed by serving only after checks.

It is the contract between the two halves of the project: signature, content, artifacts with their checksums, the proof
that each artifact agrees with the eager model, and where the weights came from.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from models import fields
from models.content import Content
from models.parity import EdgeParity, OutputParity, ParityReport
from models.tensors import Signature, SignatureError

#: The records of parity are part of a manifest, in a file of their own.
__all__ = [
    "SCHEMA",
    "Artifact",
    "EdgeParity",
    "Golden",
    "Manifest",
    "ManifestError",
    "Origin",
    "OutputParity",
    "ParityReport",
]

#: Raised with every change that an older reader would misread.
SCHEMA = 1


class ManifestError(ValueError):
    """The bytes are not a manifest this program can read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One exported file, its checksum, and its parity with the eager model.

    `tolerance` gives per output the absolute difference to the golden sample that a replay may show; a random output has
    none.
    """

    format: str
    file: str
    sha256: str
    size_bytes: int
    tolerance: Mapping[str, float]
    parity: ParityReport

    @property
    def random(self) -> frozenset[str]:
        """The outputs that are replayed by shape, datatype and finiteness alone."""
        return frozenset(output.output for output in self.parity.outputs if output.random)

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Artifact":
        """Read an artifact."""
        tolerance = fields.record(json, "tolerance")
        return cls(
            format=fields.text(json, "format"),
            file=fields.text(json, "file"),
            sha256=fields.text(json, "sha256"),
            size_bytes=fields.count(json, "size_bytes"),
            tolerance={name: fields.number(tolerance, name) for name in tolerance},
            parity=ParityReport.from_json(fields.record(json, "parity")),
        )


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden sample's file: real inputs with the eager model's outputs, as arrays `input:<name>`, `output:<name>`."""

    file: str
    sha256: str
    size_bytes: int
    rows: int

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Golden":
        """Read the golden sample's entry."""
        return cls(
            file=fields.text(json, "file"),
            sha256=fields.text(json, "sha256"),
            size_bytes=fields.count(json, "size_bytes"),
            rows=fields.count(json, "rows"),
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights came from; a checkpoint carries it, and every version made from that checkpoint.

    `commit` and `dirty` are None outside a git checkout. `data` is the SHA-256 of the training data, `scores` those on
    the test split.
    """

    model: str
    data: str
    seed: int
    recipe: Mapping[str, object]
    scores: Mapping[str, float]
    libraries: Mapping[str, str]
    commit: str | None
    dirty: bool | None

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Origin":
        """Read an origin that can be written out again."""
        scores, libraries = fields.record(json, "scores"), fields.record(json, "libraries")
        origin = cls(
            model=fields.text(json, "model"),
            data=fields.text(json, "data"),
            seed=fields.integer(json, "seed"),
            recipe=fields.record(json, "recipe"),
            scores={name: fields.number(scores, name) for name in scores},
            libraries={name: fields.text(libraries, name) for name in libraries},
            commit=fields.optional(json, "commit", fields.text),
            dirty=fields.optional(json, "dirty", fields.boolean),
        )
        for key in ("recipe", "scores", "libraries"):
            _check_writable(key, json[key])
        return origin


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one model. `published` is an ISO 8601 time in UTC, `checkpoint` the SHA-256 of the weights file."""

    model: str
    version: int
    published: str
    signature: Signature
    content: Content | None
    artifacts: tuple[Artifact, ...]
    golden: Golden
    checkpoint: str
    origin: Origin
    schema: int = field(default=SCHEMA)

    def to_bytes(self) -> bytes:
        """Return the manifest as the bytes of `manifest.json`; the same manifest gives the same bytes.

        Raise ValueError, or RecursionError, where JSON cannot express it.
        """
        facts = asdict(self)
        facts["signature"] = self.signature.to_json()
        facts["content"] = None if self.content is None else self.content.to_json()
        ordered = {"schema": facts.pop("schema"), **facts}
        return (json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Read what `to_bytes` wrote; raise ManifestError naming the field for anything else."""
        try:
            facts = json.loads(data.decode(), object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"manifest.json is not JSON: {error}") from None
        if not isinstance(facts, dict):
            raise ManifestError("manifest.json: expected an object")
        try:
            return cls._read(facts)
        except (fields.FieldError, SignatureError) as error:
            raise ManifestError(f"manifest.json: {error}") from None

    @classmethod
    def _read(cls, facts: fields.Fields) -> "Manifest":
        schema = fields.integer(facts, "schema")
        if schema != SCHEMA:
            raise fields.FieldError("schema", expected=f"{SCHEMA}", found=schema)
        signature = Signature.from_json(fields.record(facts, "signature"))
        described = fields.optional(facts, "content", fields.record)
        content = None if described is None else Content.from_json(described)
        if content is not None:
            content.check(signature)
        return cls(
            model=fields.text(facts, "model"),
            version=fields.count(facts, "version"),
            published=fields.text(facts, "published"),
            signature=signature,
            content=content,
            artifacts=fields.items(facts, "artifacts", Artifact.from_json),
            golden=Golden.from_json(fields.record(facts, "golden")),
            checkpoint=fields.text(facts, "checkpoint"),
            origin=Origin.from_json(fields.record(facts, "origin")),
        )


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; raise ValueError for a key that comes twice, of which two readers may believe different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _check_writable(key: str, value: object) -> None:
    """Raise FieldError for what `json.loads` accepts and a manifest cannot hold: NaN, half a character, endless nesting."""
    try:
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise fields.FieldError(key, expected="finite numbers and whole texts", found=str(error)) from None
