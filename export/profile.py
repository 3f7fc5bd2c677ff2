"""How fast each artifact of a version is on this machine, alone and in batches, on one thread and on more.

Artifacts that are to be compared, those on equally many threads, are measured side by side (`timed.py`). What they are
measured with is what they are opened with when served; HTTP, queue and batcher are not in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from export.profile_child import Job
from export.timed import in_turns, started
from export.version_path import VersionPath
from models import machine
from models.profiles import FormatProfile, Measurement, Profile
from models.repository import ModelVersion

#: Seconds for one artifact on one number of threads, unless told otherwise.
SECONDS = 3.0
#: A model configuration's own limit.
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class Profiled:
    """What came of it: the profile of those that could be measured, and why others, by format, could not."""

    profile: Profile
    failures: Mapping[str, str]


def measure(
    place: VersionPath,
    version: ModelVersion,
    *,
    formats: Sequence[str] | None = None,
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda step: None,
) -> Profiled:
    """Measure the artifacts of a version, or those of the formats named. `tell` hears of each step as it begins.

    One that fails on any number of threads is left out as a whole: its faults are no speed.
    """
    on = machine.here()
    names = [one.format for one in version.manifest.artifacts if formats is None or one.format in formats]
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    for threads in thread_counts(on.cores):
        left = [name for name in names if name not in failures]
        tell(f"{', '.join(left)} on {threads} thread{'' if threads == 1 else 's'}")
        with started([job(place, version, name, threads=threads) for name in left]) as timed:
            measured, failed = in_turns(timed, version.manifest.signature, seconds=seconds)
        failures |= failed
        for name, measurement in measured.items():
            found[name].append(measurement)
    profiles = [
        FormatProfile(one.format, machine.runtime_of(one.format) or "unknown", one.size_bytes, tuple(found[one.format]))
        for one in version.manifest.artifacts
        if one.format in names and one.format not in failures
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Profiled(Profile(place.number, version.digest, on, now, tuple(profiles)), failures)


def thread_counts(cores: int) -> list[int]:
    """Return 1, 2, 4, … and all cores."""
    most = min(cores, _MOST_THREADS)
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def job(place: VersionPath, version: ModelVersion, format: str, *, threads: int, instances: int = 1) -> Job:
    """Return what a process needs to open an artifact."""
    return Job(str(place.repository.root), place.model, place.number, version.digest, format, threads, instances)
