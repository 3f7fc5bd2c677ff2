"""Which options mean nothing together: one table for flags and scenarios alike, each pair with its reason.

Only what somebody asked for counts, not defaults: whoever asks for an option that would not do anything is told so.
"""

from collections.abc import Mapping
from typing import Any

from loadtests.server import CannotRun

#: A search sets its own loads, on one server.
_SEARCH = "a search makes loads of its own, of arrivals"
_OF_LOADS = ("users", "shape", "factor", "steps", "duration", "rounds", "against", "variant", "web")

#: --tune serves the model itself, on the loopback, without key or certificate.
_SERVED = "the model is served here"

#: Options that exclude each other, and why.
EXCLUSIVE: tuple[tuple[str, str, str], ...] = (
    ("users", "rate", "a load is closed (users) or open (a rate)"),
    ("find_capacity", "tune", "which searches capacities itself"),
    *(("find_capacity", name, _SEARCH) for name in _OF_LOADS),
    *(("tune", name, _SEARCH) for name in _OF_LOADS),
    *(("tune", name, _SERVED) for name in ("url", "key_file", "ca", "image")),
)

#: Options that do something only where one of others is asked for.
NEEDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("arrivals", ("rate", "find_capacity", "tune")),
    ("trial", ("find_capacity", "tune")),
    ("trials", ("find_capacity", "tune")),
    ("precision", ("find_capacity", "tune")),
    ("config", ("tune",)),
    ("find_capacity", ("slo",)),
    ("tune", ("slo",)),
)

#: Options that do something only with one shape.
OF_SHAPE = {"factor": "spike", "steps": "steps"}


def check(asked: Mapping[str, Any]) -> None:
    """Raise CannotRun for options that mean nothing together. `asked` are those that somebody gave. Any: their values."""
    given = {name for name, value in asked.items() if value not in (None, False, ())}
    varied = {key for one in asked.get("variant") or () for key in one}
    for one, other, why in EXCLUSIVE:
        if {one, other} <= given:
            raise CannotRun(f"{shown(one)} and {shown(other)}: expected one of them, found both: {why}")
    for name, needed in NEEDS:
        if name in given and not set(needed) & (given | (varied if name == "arrivals" else set())):
            what = " or ".join(map(shown, needed))
            example = " (objectives to keep, as p99<50ms,errors<0.1%)" if needed == ("slo",) else ""
            raise CannotRun(f"{shown(name)}: expected together with {what}{example}, found alone")
    for name, shape in OF_SHAPE.items():
        if name in given and asked.get("shape") != shape:
            raise CannotRun(f"{shown(name)} and --shape: expected --shape {shape}, found {asked.get('shape', 'none')}")
    _check_values(asked)


def _check_values(asked: Mapping[str, Any]) -> None:
    """Raise CannotRun where it is the values that do not go together."""
    url, against = (str(asked.get(name) or "").rstrip("/") for name in ("url", "against"))
    if url and url == against:
        raise CannotRun(f"url and --against: expected two servers, found {url} twice")
    if asked.get("ca") and not any(one.startswith("https://") for one in (url, against)):
        raise CannotRun(f"--ca and url: expected https://, found {url or 'none'}")
    users, processes = asked.get("users"), asked.get("processes")
    if users is not None and processes is not None and users < processes:
        raise CannotRun(f"--users and --processes: expected a user at least for each process, found {users} and {processes}")
    for number, one in enumerate(asked.get("variant") or (), 1):
        if {"users", "rate"} <= set(one):
            raise CannotRun(f"variant {number}: users and rate: expected one of them, found both")
        open_load = "rate" in one or ("users" not in one and asked.get("rate") is not None)
        if "arrivals" in one and not open_load:
            raise CannotRun(f"variant {number}: arrivals: expected together with rate, found none")


def shown(name: str) -> str:
    """Return an option as people write it on a command line."""
    return name if name in ("url", "variant") else "--" + name.replace("_", "-")
