"""Measure a published version on this machine, and propose a configuration for it.

Each artifact is opened in a process of its own, on one thread and on more: latency of a lone row, rows per second in batches
that grow until larger ones carry no more, memory and size. The figures go into profiles.json beside the version; by them
`sameway serve` opens the fastest of the formats where the model's configuration names none.

exit codes:
  0  measured and recorded
  1  not as published: a file was altered, a signature is missing or wrong
  2  could not run: no such version, nothing could be measured here, or it cannot be recorded
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from export import profile, proposal, version_path
from export.profile import Profiled
from export.proposal import NoProposal
from export.version_path import VersionPath
from models import profiles
from models.machine import free_memory, usable_cores
from models.profiles import FormatProfile, Measurement, ProfileError
from models.repository import CONFIG, ModelVersion, RepositoryError
from models.signing import SigningError, Trust, trusted_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("version", help="the folder of a version (models/digits/3), or of a model for its newest one")
    parser.add_argument(
        "--trusted-keys", type=Path, metavar="FILE", help="demand a signature by one of these Ed25519 public keys (PEM)"
    )
    parser.add_argument(
        "--seconds", type=seconds, default=profile.SECONDS, help="for each artifact on each number of threads"
    )
    parser.add_argument(
        "--write-config", action="store_true", help=f"write the proposal to the model's {CONFIG}, where it has none"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table and the proposal, and record."""
    try:
        trust = None if arguments.trusted_keys is None else Trust(trusted_keys(arguments.trusted_keys), required=True)
        place = version_path.find(arguments.version, trust=trust)
    except (RepositoryError, SigningError) as error:
        return _failed(str(error), 2)
    folder = place.repository.root / place.model
    if arguments.write_config and (there := proposal.existing(folder)):
        return _failed(f"--write-config: expected no configuration of {place.model}, found {there}", 2)
    try:
        version = place.open()
    except RepositoryError as error:
        return _failed(str(error), 1)
    try:
        proposed = measure_and_record(place, version, seconds=arguments.seconds, write=sys.stdout.write, tell=_tell)
        if arguments.write_config and proposed is None:
            return _failed("--write-config: there is nothing to write", 2)
        if arguments.write_config and proposed is not None:
            proposal.write(folder, proposed)
            sys.stdout.write(f"written to {folder / CONFIG}\n")
    except ProfileError as error:
        return _failed(str(error), 2)
    except OSError as error:
        return _failed(f"cannot write {folder / CONFIG}: {error.strerror or error}", 2)
    return 0


def measure_and_record(
    place: VersionPath,
    version: ModelVersion,
    *,
    seconds: float,
    write: Callable[[str], object],
    tell: Callable[[str], None] = lambda step: None,
) -> str | None:
    """Measure a version, write the table and the proposal, record the profile, and return the proposal if there is one.

    Raise ProfileError where nothing could be measured or recorded. `tell` hears of each step as it begins.
    """
    done = profile.measure(place, version, seconds=seconds, tell=tell)
    for format, reason in done.failures.items():
        write(f"{format}: not measured: {reason}\n")
    if not done.profile.formats:
        raise ProfileError(f"{place.name}: nothing could be measured here")
    write("\n".join(table(place.name, done)) + "\n\n")
    profiles.record(place.repository, place.model, done.profile)
    tell("instances side by side")
    tried = proposal.plans(done.profile, cores=usable_cores(), free_bytes=free_memory())
    rates = proposal.compare(place, version, tried)
    try:
        proposed = proposal.text(done.profile, place.name, version.manifest.signature.max_batch_size, rates)
    except NoProposal as error:
        write(f"no configuration is proposed: {error}\n")
        return None
    write(proposed)
    return proposed


def seconds(word: str) -> float:
    """Read a time on the command line; raise ArgumentTypeError unless something can be measured in it."""
    try:
        value = float(word)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 600:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 600 seconds, found {word!r}")
    return value


def table(name: str, done: Profiled) -> list[str]:
    """Return the figures as lines: times in milliseconds, memory and sizes in MB of a million bytes."""
    runtimes = ", ".join(dict.fromkeys(one.runtime for one in done.profile.formats))
    heads = ("format", "threads", "p50 ms", "p99 ms", "rows/s", "at batch", "peak MB", "session MB", "size MB")
    rows = [heads, *(_cells(one, measured) for one in done.profile.formats for measured in one.measurements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    sides: Sequence[Callable[[str, int], str]] = (str.ljust, *[str.rjust] * (len(heads) - 1))
    padded = ((side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)) for row in rows)
    about = f"{name} sha256:{done.profile.digest} on {done.profile.machine}; {runtimes}"
    return [about, *("  ".join(cells).rstrip() for cells in padded)]


def _cells(one: FormatProfile, measured: Measurement) -> tuple[str, ...]:
    p99 = "–" if measured.p99_seconds is None else f"{measured.p99_seconds * 1e3:.3f}"
    best = measured.best
    memory = (f"{measured.peak_bytes / 1e6:.0f}", f"{measured.session_bytes / 1e6:.1f}", f"{one.size_bytes / 1e6:.2f}")
    times = (f"{measured.p50_seconds * 1e3:.3f}", p99, f"{best.rows_per_second:,.0f}", str(best.rows or "–"))
    return (one.format, str(measured.threads), *times, *memory)


def _tell(step: str) -> None:
    sys.stderr.write(f"measuring {step}\n")


def _failed(reason: str, code: int) -> int:
    sys.stderr.write(f"sameway profile: {reason}\n")
    return code
