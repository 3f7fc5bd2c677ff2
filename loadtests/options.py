"""Everything that can be asked of a load test, with its default: by flags, or by a scenario, a TOML file of the same names.

What the command line says holds over the scenario, and that over the defaults here. A name that is not known is an error: a
misspelt objective must not pass for one that was kept.
"""

import argparse
import dataclasses
import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests import combinations, slo
from loadtests.plan import PAYLOADS
from loadtests.said import brief
from loadtests.server import CannotRun
from loadtests.shapes import SHAPES
from loadtests.weights import weights

SCENARIOS = Path(__file__).parent / "scenarios"

#: What one variant of a scenario may have of its own.
_VARIES = ("label", "model", "payload", "users", "rate", "arrivals")


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for. `rate` may be a multiple of what the server carries, as in "3x"; None: a closed load."""

    url: str | None = None
    against: str | None = None
    model: str = "digits"
    payload: str | None = None
    repository: str | None = None
    users: int = 16
    rate: float | str | None = None
    arrivals: str = "poisson"
    shape: str = "steady"
    factor: float = 10.0
    steps: int = 5
    duration: float = 20.0
    warm_up: float = 1.0
    timeout: float = 10.0
    honour_retry_after: bool = False
    processes: int = 1
    seed: int = 0
    rounds: int = 1
    slo: str | None = None
    find_capacity: bool = False
    tune: bool = False
    trial: float = 5.0
    trials: int = 16
    precision: float = 0.1
    web: int | None = None
    image: str | None = None
    key_file: str | None = None
    ca: str | None = None
    compare: str | None = None
    report: str | None = None
    config: str | None = None
    scenario: str | None = None
    description: str = ""
    variant: tuple[dict[str, Any], ...] = ()


#: Per number: the smallest and the largest that make sense.
RANGES = {
    "users": (1, 10_000), "factor": (1, 1000), "steps": (1, 100), "duration": (0.1, 86_400 * 7), "warm_up": (0, 3600),
    "timeout": (0.01, 3600), "processes": (1, 64), "seed": (0, 2**31), "rounds": (1, 1000), "trial": (1, 600),
    "trials": (3, 200), "precision": (0.005, 1), "web": (1, 65_535),
}  # fmt: skip

_LOWEST_RATE, _HIGHEST_RATE = 0.001, 1e6
_RATES = f"a rate of {_LOWEST_RATE} to {_HIGHEST_RATE:,.0f} per second, or 3x"

_CHOICES: dict[str, Sequence[str]] = {"arrivals": ("poisson", "constant"), "shape": SHAPES}

#: A record has one byte for the kind of its request.
_MOST_KINDS = 255

_HELP = {
    "against": "a second server, to be asked in turns with the first",
    "model": "the model to ask; several by weight, as digits=3,language=1",
    "payload": f"how samples travel: {', '.join(PAYLOADS)}; several by weight (JSON, and content where there is some)",
    "repository": "where golden samples are; otherwise ./models if it has the model, and else the server is asked first",
    "users": "closed load: so many connections, each with one request at a time",
    "rate": "open load: so many arrivals per second, or a multiple of what the server carries, as 3x",
    "arrivals": "how they arrive: poisson or constant",
    "shape": f"the load over time: {', '.join(SHAPES)}",
    "factor": "how many times as much a spike is",
    "steps": "how many steps up to the load there are",
    "duration": "seconds of load",
    "warm_up": "seconds before that, which do not count",
    "timeout": "seconds after which no answer is a failure; of a search at most ten times its latency objective, or 1 s",
    "honour_retry_after": "wait as Retry-After says and ask again, up to three times, where the server refuses with 429",
    "processes": "processes that generate the load",
    "seed": "of arrivals and mixtures",
    "rounds": "how often each variant of a scenario has its turn",
    "slo": "objectives, as p99<50ms,errors<0.1%%,goodput>500; one that is missed is exit code 1",
    "find_capacity": "search the largest arrival rate that keeps the objectives",
    "tune": "serve the model here, try instances, threads, batch size and queue delay, and propose a config.toml",
    "trial": "seconds that count of each trial of a search",
    "trials": "most trials of a search",
    "precision": "how narrow the interval around the capacity is to be, as a share of it",
    "web": "show Locust's page on this port of the loopback meanwhile",
    "image": "the image that the server runs, for the report",
    "key_file": "a file with the API key to send",
    "ca": "PEM file of who signs the server's certificate",
    "compare": "an earlier report (its folder or JSON): what changed beyond noise?",
    "report": "write report.json, report.html and junit.xml into this folder",
    "config": "where the config.toml that --tune proposes goes",
    "scenario": "a scenario by name, or a TOML file; flags hold over it",
}

#: Flags by what they are about, and what stands for the value of each.
_GROUPS: dict[str, dict[str, str]] = {
    "what is asked": {
        "model": "NAMES", "payload": "KINDS", "repository": "DIR", "against": "URL", "key_file": "FILE", "ca": "FILE",
        "timeout": "SECONDS", "honour_retry_after": "",
    },
    "the load": {
        "users": "N", "rate": "RATE", "arrivals": "HOW", "shape": "SHAPE", "factor": "TIMES", "steps": "N",
        "duration": "SECONDS", "warm_up": "SECONDS", "rounds": "N", "scenario": "NAME", "processes": "N", "seed": "N",
        "web": "PORT",
    },
    "searches": {
        "find_capacity": "", "tune": "", "trial": "SECONDS", "trials": "N", "precision": "SHARE", "config": "FILE",
    },
    "judging and reporting": {"slo": "TERMS", "report": "DIR", "compare": "REPORT", "image": "NAME"},
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every option but those that only a scenario has."""
    parser.add_argument("url", nargs="?", help="where the server is, as http://host:port")
    fields = {field.name: field for field in dataclasses.fields(Options)}
    for title, flags in _GROUPS.items():
        group = parser.add_argument_group(title)
        for name, metavar in flags.items():
            flag, default = "--" + name.replace("_", "-"), fields[name].default
            shown = f"{default:g}" if isinstance(default, float) else default
            told = (
                _HELP[name]
                + (f": {', '.join(scenario_names())}" if name == "scenario" else "")
                + ("" if default in (None, False, ()) else f" ({shown})")
            )
            if not metavar:
                group.add_argument(flag, default=None, action="store_true", help=told)
            elif name == "web":
                group.add_argument(flag, default=None, nargs="?", const=8089, metavar=metavar, help=f"{told} (8089)")
            else:
                group.add_argument(flag, default=None, metavar=metavar, help=told)


def resolve(arguments: argparse.Namespace) -> Options:
    """Return what flags, scenario and defaults ask for together; raise CannotRun or SloError."""
    known = {field.name: field for field in dataclasses.fields(Options)}
    given = {name: value for name, value in vars(arguments).items() if value is not None and name in known}
    told = _scenario(str(given["scenario"])) if "scenario" in given else {}
    for rival, chosen in (("users", "rate"), ("rate", "users")):
        if chosen in given and rival not in given:
            told.pop(rival, None)  # one kind of load replaces the other
    found = {name: _typed(name, value, known[name].type) for name, value in {**told, **given}.items()}
    for name, choices in _CHOICES.items():
        for value in (found.get(name), *(one.get(name) for one in found.get("variant", ()))):
            if value is not None and value not in choices:
                raise CannotRun(f"{name}: expected {' or '.join(choices)}, found {value!r}")
    combinations.check(found)
    options = Options(**found)
    if options.url is None and not options.tune:
        raise CannotRun("url: expected http://host:port, found none")
    for one in ({}, *options.variant):
        kinds = len(weights(one.get("model", options.model), "model")) * len(PAYLOADS)
        if (payload := one.get("payload", options.payload)) is not None:
            weights(payload, "payload")
        if kinds > _MOST_KINDS:
            raise CannotRun(f"model: expected up to {_MOST_KINDS // len(PAYLOADS)} of them, found {kinds // len(PAYLOADS)}")
    if options.slo is not None:
        slo.parse(options.slo)
    return options


def report_folder(arguments: argparse.Namespace) -> str | None:
    """Return the folder of the report, before anything else is known to make sense: it is told there, too, if not."""
    told: Any = arguments.report
    if told is None and arguments.scenario is not None:
        told = _scenario(str(arguments.scenario)).get("report")
    return told if isinstance(told, str) and told else None


def scenario_names() -> list[str]:
    """Return the names of the scenarios that come with this project."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def _scenario(name: str) -> dict[str, Any]:
    """Return what a scenario says, its names checked; raise CannotRun with the line."""
    path = SCENARIOS / f"{name}.toml" if name in scenario_names() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except OSError as error:
        known = ", ".join(scenario_names())
        raise CannotRun(f"scenario: expected one of {known}, or a file; found {name!r} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CannotRun(f"scenario: {path.name}: {error}") from error
    names = [field.name for field in dataclasses.fields(Options) if field.name != "scenario"]
    for key in told:
        if key not in names:
            raise CannotRun(f"scenario: {path.name}{_line(text, key)}: {_expected(key, names)}")
    variants = told.get("variant", [])
    if not isinstance(variants, list) or not all(isinstance(one, dict) for one in variants):
        raise CannotRun(
            f"scenario: {path.name}{_line(text, 'variant')}: expected [[variant]] tables, found {brief(variants)}"
        )
    for number, one in enumerate(variants, 1):
        for key in one:
            if key not in _VARIES:
                where = f"variant {number}{_line(text, key, after=number)}"
                raise CannotRun(f"scenario: {path.name}: {where}: {_expected(key, _VARIES)}")
        if not isinstance(one.get("label"), str) or not one["label"]:
            raise CannotRun(f"scenario: {path.name}: variant {number}: expected a label, found {brief(one.get('label'))}")
    if len({one["label"] for one in variants}) < len(variants):
        labels = [one["label"] for one in variants]
        raise CannotRun(f"scenario: {path.name}: variant: expected labels that differ, found {brief(labels)}")
    return told


def _line(text: str, key: str, *, after: int = 0) -> str:
    """Return in which line a key stands, of a scenario or of its n-th variant; nothing where that cannot be seen."""
    variants = 0
    for number, line in enumerate(text.splitlines(), 1):
        variants += re.match(r"\s*\[\[\s*variant\s*\]\]", line) is not None
        if variants == after and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=|\s*\[+\s*{re.escape(key)}\s*\]""", line):
            return f", line {number}"
    return ""


def _expected(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"found {key!r}, expected {near[0]!r}?" if near else f"found {key!r}, expected some of {', '.join(known)}"


def _typed(name: str, value: Any, kind: Any) -> Any:  # Any: of a flag or a scenario, not believed yet
    """Return a value as its option has it; raise CannotRun."""
    words = str(kind)
    try:
        if name == "rate":
            return _rate(value)
        if name == "variant":
            kinds = {field.name: field.type for field in dataclasses.fields(Options)}
            return tuple(
                {key: one[key] if key == "label" else _typed(key, one[key], kinds[key]) for key in one} for one in value
            )
        if "bool" in words:
            if not isinstance(value, bool):
                raise ValueError
            return value
        if "int" in words or "float" in words:
            number = int(str(value)) if "int" in words else float(str(value))
            low, high = RANGES[name]
            if not low <= number <= high:
                raise ValueError
            return number
    except (ValueError, TypeError, OverflowError):
        low, high = RANGES.get(name, (0, 0))
        expected = f"{low:,} to {high:,}" if name in RANGES else "true or false" if "bool" in words else _RATES
        raise CannotRun(f"{name.replace('_', '-')}: expected {expected}, found {brief(value)}") from None
    if not isinstance(value, str) or not value or any(0xD800 <= ord(one) < 0xE000 for one in value):
        raise CannotRun(f"{name.replace('_', '-')}: expected a text, found {brief(value)}")
    return value


def _rate(value: Any) -> float | str:  # Any: of a flag or a scenario
    text = str(value)
    number = float(text.removesuffix("x"))
    if not _LOWEST_RATE <= number < _HIGHEST_RATE or isinstance(value, bool):
        raise ValueError
    return text if text.endswith("x") else number


def varied(options: Options, variant: dict[str, Any]) -> Options:
    """Return the options of one variant; users of its own make it a closed load."""
    changes: dict[str, Any] = {name: value for name, value in variant.items() if name != "label"}
    if "users" in changes:
        changes["rate"] = None
    return dataclasses.replace(options, **changes, variant=())
