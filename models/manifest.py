"""The manifest: what is true of one version for ever, written once by export and believed by serving only after checks.

It is the contract between the two halves of the project: signature, content, artifacts with their checksums, the proof
that each artifact agrees with the eager model, and where the weights came from.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from models import fields
from models.content import Content
from models.tensors import Signature, SignatureError

#: Raised with every change that an older reader would misread.
SCHEMA = 1


class ManifestError(ValueError):
    """The bytes are not a manifest this program can read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of an artifact against the eager model, over all batch sizes tried.

    Errors are the largest over all samples: `max_absolute`; `max_relative` and `max_ulp` (units in the last place of the
    reference) over elements whose reference is not 0. `min_cosine` is the smallest cosine of a sample's answer with its
    reference. `worst_sample` is the row of the largest error. `equal_decisions` is the share of equal elements of an
    integer output, None for others.

    `tolerance` is what was allowed: a multiple of `noise_floor`, what the eager model differs from itself, unless `atol`
    and `rtol` say that it was stated. The floor is the largest of `floor_float64` (float32 against float64),
    `floor_alone` (a row alone against the same row in a batch) and `floor_ulp` (4 units in the last place of the output's
    scale). A `random` output, of which the eager model itself gives two answers, has none of these numbers: it is judged
    by shape, datatype and finiteness. None: not measured, as in manifests of before.
    """

    output: str
    max_absolute: float
    max_relative: float
    noise_floor: float
    tolerance: float
    equal_decisions: float | None
    worst_sample: int
    passed: bool
    random: bool = False
    max_ulp: float | None = None
    min_cosine: float | None = None
    floor_float64: float | None = None
    floor_alone: float | None = None
    floor_ulp: float | None = None
    atol: float | None = None
    rtol: float | None = None

    @classmethod
    def from_json(cls, json: fields.Fields) -> "OutputParity":
        """Read one output's parity."""
        return cls(
            output=fields.text(json, "output"),
            max_absolute=fields.number(json, "max_absolute"),
            max_relative=fields.number(json, "max_relative"),
            noise_floor=fields.number(json, "noise_floor"),
            tolerance=fields.number(json, "tolerance"),
            equal_decisions=fields.optional(json, "equal_decisions", fields.number),
            worst_sample=fields.count(json, "worst_sample"),
            passed=fields.boolean(json, "passed"),
            random=fields.optional(json, "random", fields.boolean) or False,
            max_ulp=fields.optional(json, "max_ulp", fields.number),
            min_cosine=fields.optional(json, "min_cosine", fields.number),
            floor_float64=fields.optional(json, "floor_float64", fields.number),
            floor_alone=fields.optional(json, "floor_alone", fields.number),
            floor_ulp=fields.optional(json, "floor_ulp", fields.number),
            atol=fields.optional(json, "atol", fields.number),
            rtol=fields.optional(json, "rtol", fields.number),
        )


@dataclass(frozen=True, slots=True)
class ParityReport:
    """One artifact against the eager model: what was tried, and what came out for every output.

    `batch_sizes` holds a 0 where there is no batch axis and requests ran alone. `notes` are sentences on what was found
    besides, or could not be looked at.
    """

    format: str
    batch_sizes: tuple[int, ...]
    samples: int
    outputs: tuple[OutputParity, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output stayed within its tolerance."""
        return all(output.passed for output in self.outputs)

    @classmethod
    def from_json(cls, json: fields.Fields) -> "ParityReport":
        """Read a parity report."""
        return cls(
            format=fields.text(json, "format"),
            batch_sizes=fields.integers(json, "batch_sizes"),
            samples=fields.count(json, "samples"),
            outputs=fields.items(json, "outputs", OutputParity.from_json),
            notes=fields.optional(json, "notes", fields.texts) or (),
        )


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
