"""Profiles: how fast the artifacts of a version are on one machine, in `profiles.json` beside a model's versions.

A version never changes, and what is measured of it differs from machine to machine, so it is no part of the manifest. It is
policy and no promise: all it decides is which of several artifacts, each proved to be the model, is opened here. Whoever can
write it can make a server slower, and no more: `fastest` chooses among the formats it is given.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from models import fields, machine, plain_file
from models.machine import Machine
from models.repository import Repository, locked

FILENAME = "profiles.json"
#: Raised with every change that an older reader would misread.
SCHEMA = 1

#: Which artifact of a version is opened where nobody names one and nothing was measured; and the only ones among which a
#: profile chooses. A quantized one is opened where the configuration names it.
PREFERENCE = ("onnx", "exported_program", "torchscript")

#: Half a kilobyte a measurement: a thousand of them, and more than anybody reads.
_MOST_BYTES = 1024 * 1024
#: Profiles that are kept, the newest: so many versions times machines.
_MOST_PROFILES = 256

#: What is nearer to each other than this is equally fast: two runs on a quiet machine differ by as much.
NOTABLE = 0.05


class ProfileError(Exception):
    """`profiles.json` is not what was written here, or cannot be written; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rows per second in batches of so many rows, by the median of the calls; 0 rows: requests without a batch axis."""

    rows: int
    rows_per_second: float

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Throughput":
        """Read it; raise FieldError."""
        return cls(rows=fields.count(json, "rows"), rows_per_second=_positive(json, "rows_per_second"))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One artifact in one session of so many threads.

    calls          calls of one row, of which the percentiles are
    p50, p99       seconds; p99 is None for fewer than a hundred calls, which do not show one
    throughput     by batch size, ascending; one entry at least
    peak_bytes     resident memory of a process that holds nothing but this, at its peak: interpreter and runtime with it
    session_bytes  how much of that came with opening the artifact and running its largest batch
    """

    threads: int
    calls: int
    p50_seconds: float
    p99_seconds: float | None
    throughput: tuple[Throughput, ...]
    peak_bytes: int
    session_bytes: int

    @property
    def best(self) -> Throughput:
        """Where it carries most; of batch sizes that carry as much the smallest, whose requests wait for fewer others."""
        most = max(one.rows_per_second for one in self.throughput)
        return next(one for one in self.throughput if one.rows_per_second >= most * (1 - NOTABLE))

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Measurement":
        """Read it; raise FieldError."""
        throughput = fields.items(json, "throughput", Throughput.from_json)
        if not throughput:
            raise fields.FieldError("throughput", expected="one entry or more", found=[])
        return cls(
            threads=fields.count(json, "threads"),
            calls=fields.count(json, "calls"),
            p50_seconds=_positive(json, "p50_seconds"),
            p99_seconds=fields.optional(json, "p99_seconds", _positive),
            throughput=throughput,
            peak_bytes=fields.count(json, "peak_bytes"),
            session_bytes=fields.count(json, "session_bytes"),
        )


@dataclass(frozen=True, slots=True)
class FormatProfile:
    """One artifact of a version in the runtime that ran it (`onnxruntime 1.32.0`), by threads, ascending."""

    format: str
    runtime: str
    size_bytes: int
    measurements: tuple[Measurement, ...]

    def within(self, threads: int) -> Measurement | None:
        """Return what was measured with the most threads that are no more than these."""
        return max((one for one in self.measurements if one.threads <= threads), key=lambda one: one.threads, default=None)

    @classmethod
    def from_json(cls, json: fields.Fields) -> "FormatProfile":
        """Read it; raise FieldError."""
        return cls(
            format=fields.text(json, "format"),
            runtime=fields.text(json, "runtime"),
            size_bytes=fields.count(json, "size_bytes"),
            measurements=fields.items(json, "measurements", Measurement.from_json),
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """One version on one machine. `digest` is the SHA-256 of its manifest, `measured` an ISO 8601 time in UTC."""

    version: int
    digest: str
    machine: Machine
    measured: str
    formats: tuple[FormatProfile, ...]

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Profile":
        """Read it; raise FieldError."""
        return cls(
            version=fields.count(json, "version"),
            digest=fields.text(json, "digest"),
            machine=Machine.from_json(fields.record(json, "machine")),
            measured=fields.text(json, "measured"),
            formats=fields.items(json, "formats", FormatProfile.from_json),
        )


def read(folder: Path) -> tuple[Profile, ...]:
    """Return the profiles in a model's folder, none where there is no file; raise ProfileError."""
    try:
        data = plain_file.read(folder / FILENAME, most_bytes=_MOST_BYTES)
    except plain_file.FileError as error:
        raise ProfileError(str(error)) from error
    if data is None:
        return ()
    try:
        facts = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{FILENAME} is not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise ProfileError(f"{FILENAME}: expected an object")
    try:
        schema = fields.integer(facts, "schema")
        if schema != SCHEMA:
            raise fields.FieldError("schema", expected=f"{SCHEMA}", found=schema)
        return fields.items(facts, "profiles", Profile.from_json)
    except ValueError as error:  # FieldError is one; so is what Python says of an integer too long to be shown
        raise ProfileError(f"{FILENAME}: {error}") from None


def find(profiles: Sequence[Profile], digest: str, on: Machine) -> Profile | None:
    """Return the profile of a version on a machine."""
    return next((one for one in profiles if (one.digest, one.machine) == (digest, on)), None)


def record(repository: Repository, model: str, profile: Profile) -> None:
    """Write a profile in the place of an older one of that version and machine, atomically; raise ProfileError.

    A file that cannot be read is not overwritten: somebody else's tool may have written what we do not understand.
    """
    folder = repository.root / model
    try:
        with locked(folder):
            others = [one for one in read(folder) if (one.digest, one.machine) != (profile.digest, profile.machine)]
            kept = sorted([*others, profile], key=lambda one: one.measured)[-_MOST_PROFILES:]
            _replace(folder, _bytes_of(kept))
    except OSError as error:
        raise ProfileError(f"cannot write {folder / FILENAME}: {error.strerror or error}") from error


def fastest(
    profile: Profile,
    formats: Sequence[str],
    *,
    threads: int,
    runtime_of: Callable[[str], str | None] = machine.runtime_of,
) -> str | None:
    """Return which of the formats is the fastest in a session of so many threads, None where that is not known.

    It is the one with the most rows per second at its best batch: that is what a server is sized by. Of those within 5 % of
    it the one with the lowest median latency of a lone row, and of those within 5 % of that the first of `formats`, which
    are in the order of preference: noise moves nobody. Only measurements with the runtime that is installed count. The
    first of `formats`, which would be opened without any profile, must be among the measured: else nothing is faster.
    """
    found = {
        one.format: within
        for one in profile.formats
        if one.format in formats and one.runtime == runtime_of(one.format) and (within := one.within(threads)) is not None
    }
    if not formats or formats[0] not in found:
        return None
    measured = [(format, found[format]) for format in formats if format in found]
    most = max(one.best.rows_per_second for _, one in measured)
    near = [(format, one) for format, one in measured if one.best.rows_per_second >= most * (1 - NOTABLE)]
    least = min(one.p50_seconds for _, one in near)
    return next(format for format, one in near if one.p50_seconds * (1 - NOTABLE) <= least)


def _positive(json: fields.Fields, key: str) -> float:
    """Return a number above 0: there is no other speed, and `fastest` compares shares of them."""
    value = fields.number(json, key)
    if value <= 0:
        raise fields.FieldError(key, expected="more than 0", found=value)
    return value


def _bytes_of(profiles: Sequence[Profile]) -> bytes:
    """Return the bytes of the file; raise ProfileError for more than a reader would take."""
    facts = {"schema": SCHEMA, "profiles": [asdict(one) for one in profiles]}
    data = (json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if len(data) > _MOST_BYTES:
        raise ProfileError(f"{FILENAME}: expected at most {_MOST_BYTES:,} bytes, found {len(data):,}; remove it, or a part")
    return data


def _replace(folder: Path, data: bytes) -> None:
    """Put the file there whole, or leave the old one; raise OSError. The model's lock is held."""
    fresh = folder / f".{FILENAME}.new"
    fresh.unlink(missing_ok=True)  # of a process that ended in the middle of this
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        # A server may run as somebody else, whatever the umask here.
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / FILENAME)
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
