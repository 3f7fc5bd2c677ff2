"""The model configuration: `config.toml` beside a model's versions, policy that may be edited at any time.

    format = "onnx"
    instances = 2
    queue_delay_seconds = 0.002

A key that is not known, or a value that makes no sense, is an error: a misspelt limit must not pass for a limit.
"""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path

from serving import config_file
from serving.backends.base import Execution
from serving.backends.devices import CPU, normalised
from serving.config_file import ConfigError as ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the published versions are served: the newest `latest`, those `specific` ones, or (both None) all.

    In config.toml: `versions = { latest = 2 }`, `versions = [1, 3]`, `versions = "all"`.
    """

    latest: int | None = 1
    specific: tuple[int, ...] | None = None

    def choose(self, published: Sequence[int]) -> tuple[int, ...]:
        """Return the versions to serve, oldest first; raise ConfigError for a specific one that is not published."""
        ordered = sorted(published)
        if self.specific is not None:
            for version in self.specific:
                if version not in ordered:
                    raise ConfigError(f"versions: expected some of {ordered}, found {version}")
            return tuple(sorted(self.specific))
        return tuple(ordered if self.latest is None else ordered[-self.latest :])

    @classmethod
    def from_toml(cls, value: object) -> "VersionPolicy":
        """Read the value of `versions`; raise ConfigError."""
        if value == "all":
            return cls(latest=None)
        if isinstance(value, dict) and value.keys() == {"latest"} and _is_number(value["latest"]):
            return cls(latest=value["latest"])
        if isinstance(value, list) and value and all(map(_is_number, value)) and len(set(value)) == len(value):
            return cls(latest=None, specific=tuple(value))
        raise ConfigError(f'versions: expected {{ latest = 2 }}, [1, 3] or "all", found {value!r:.100}')


@dataclasses.dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is served. Every default is here.

    format               which artifact to open; None: the fastest by this machine's profile, else the first of the
                         version's in backends.base.PREFERENCE
    instances            sessions of a version, each used by one thread
    threads              threads inside one session; a small network gains nothing from a second
    queue_rows           rows that may wait; None: four full batches
    queue_delay_seconds  how long a request may wait for company while an instance is idle; a quiet server gains nothing
    timeout_seconds      how long a request may take; it may ask for less
    hang_seconds         a batch that runs longer is taken to hang: the model is not ready, and the process not alive
    priority_levels      how many levels a request may choose from, 1 the first; 0: priorities are ignored
    default_priority     the level of a request that names none; None: the last
    versions             which of the published versions are served at once
    max_batch_size       for a model without a manifest: the rows of a batch, 0 for requests that run alone; None: what a
                         probe of the opened file shows. A manifest knows, and is not to be contradicted
    device               where instances compute, "cpu" or "cuda:N"; several are given to them in turn
    precision            None: as exported; "tf32", "fp16" or "bf16" are faster on a GPU, and judged by decisions
    batch_buckets        on a GPU, the batch sizes that are recorded as CUDA graphs; None: 1, 2, 4, …; empty: none
    """

    format: str | None = None
    instances: int = 1
    threads: int = 1
    queue_rows: int | None = None
    queue_delay_seconds: float = 0.0
    timeout_seconds: float = 10.0
    hang_seconds: float = 30.0
    priority_levels: int = 0
    default_priority: int | None = None
    versions: VersionPolicy = VersionPolicy()
    max_batch_size: int | None = None
    device: tuple[str, ...] = (CPU,)
    precision: str | None = None
    batch_buckets: tuple[int, ...] | None = None

    def device_of(self, instance: int) -> str:
        """Return where an instance computes, by its number from 0."""
        return self.device[instance % len(self.device)]

    @property
    def on_cpu(self) -> bool:
        """Whether every instance computes on the CPU."""
        return set(self.device) == {CPU}

    @property
    def execution(self) -> Execution:
        """How sessions compute, in a backend's terms."""
        return Execution(self.precision, self.batch_buckets)


#: The values of `precision`.
PRECISIONS = ("tf32", "fp16", "bf16")


#: Per key: the types it may have, the smallest and the largest sensible value.
_RANGES: dict[str, tuple[tuple[type, ...], float, float]] = {
    "instances": ((int,), 1, 64),
    "threads": ((int,), 1, 256),
    "queue_rows": ((int,), 1, 1_000_000),
    "queue_delay_seconds": ((int, float), 0, 10),
    "timeout_seconds": ((int, float), 0.001, 3600),
    "hang_seconds": ((int, float), 0.1, 86_400),
    "priority_levels": ((int,), 0, 100),
    "default_priority": ((int,), 1, 100),
    "max_batch_size": ((int,), 0, 1_000_000),
    "batch_buckets": ((int,), 1, 1_000_000),
}

#: More graphs than this only take memory and time: doubling needs 17 for the largest batch there may be.
_MOST_BUCKETS = 64


def read(path: Path) -> ModelConfig:
    """Return the configuration in a TOML file, or the defaults where there is none; raise ConfigError."""
    data = config_file.read(path)
    if data is None:
        return ModelConfig()
    try:
        found = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or made to exhaust the parser
        raise ConfigError(f"{path.name}: {error}") from error
    known = [field.name for field in dataclasses.fields(ModelConfig)]
    for key, value in found.items():
        if key not in known:
            raise ConfigError(f"{path.name}: expected the keys {', '.join(known)}, found {key!r}")
        _check(path.name, key, value)
    if "versions" in found:
        try:
            found["versions"] = VersionPolicy.from_toml(found["versions"])
        except ConfigError as error:
            raise ConfigError(f"{path.name}: {error}") from error
    for key, of in (("device", _devices), ("batch_buckets", _buckets)):
        if key in found:
            found[key] = of(path.name, found[key])
    config = ModelConfig(**found)
    if config.default_priority is not None and config.default_priority > config.priority_levels:
        expected = f"1 to priority_levels ({config.priority_levels})"
        raise ConfigError(f"{path.name}: default_priority: expected {expected}, found {config.default_priority}")
    return config


def _is_number(value: object) -> bool:
    """Tell whether this is a version's number, or a count of versions."""
    return type(value) is int and 1 <= value < 10**18


def _shown(value: object) -> str:
    """Return a value as the operator wrote it, as far as that is short; Python refuses to write endless numbers."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return "a number of more digits than Python writes"


def check_range(place: str, key: str, value: object) -> None:
    """Raise ConfigError, with `place` in front, unless the value is a number that makes sense for the key."""
    kinds, least, most = _RANGES[key]
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ConfigError(f"{place}: expected a number, found {_shown(value)}")
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{place}: expected {least:g} to {most:g}, found {_shown(value)}")


def _devices(name: str, value: object) -> tuple[str, ...]:
    """Return the devices that a text or a list of texts names, by the one name each has; raise ConfigError."""
    stated = value if isinstance(value, list) else [value]
    devices = tuple(normalised(device) for device in stated if isinstance(device, str))
    named = tuple(device for device in devices if device is not None)
    if not named or len(named) < len(stated):
        raise ConfigError(f'{name}: device: expected "cpu", "cuda:0" or a list of such, found {_shown(value)}')
    return named


def _buckets(name: str, value: object) -> tuple[int, ...]:
    """Return batch sizes, ascending; raise ConfigError."""
    if not isinstance(value, list) or len(set(value)) < len(value) or len(value) > _MOST_BUCKETS:
        expected = f"a list of at most {_MOST_BUCKETS} batch sizes, each once"
        raise ConfigError(f"{name}: batch_buckets: expected {expected}, found {_shown(value)}")
    return tuple(sorted(value))


def _check(name: str, key: str, value: object) -> None:
    if key in ("versions", "device"):
        return
    if key == "batch_buckets":
        for rows in value if isinstance(value, list) else ():
            check_range(f"{name}: {key}", key, rows)
        return
    if key == "precision":
        if value not in PRECISIONS:
            raise ConfigError(f"{name}: precision: expected one of {', '.join(PRECISIONS)}, found {_shown(value)}")
        return
    if key == "format":
        if not isinstance(value, str):
            raise ConfigError(f"{name}: format: expected a text, found {value!r}")
        return
    check_range(f"{name}: {key}", key, value)
