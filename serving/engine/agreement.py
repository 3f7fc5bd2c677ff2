"""Do all processes of a server serve the same? What each says of itself in the counters, put side by side.

A process reads configurations and profiles from the disk when it opens a version, so one that a hand or a program changes
in that very moment may be read in two ways. What a version was opened from, and how, has an identity (see ServedVersion).
"""

from collections.abc import Mapping, Sequence

from serving.block_bytes import Facts
from serving.engine.base import State


def served(told: Mapping[int, Sequence[Facts]]) -> dict[str, dict[int, str]]:
    """Return the versions that some process serves, each with the identity that one of them gives it."""
    found: dict[str, dict[int, str]] = {}
    for model, version, identity in _ready(told):
        found.setdefault(model, {})[version] = identity
    return found


def differing(told: Mapping[int, Sequence[Facts]]) -> list[str]:
    """Return the models of which two processes serve one version, opened in two ways."""
    identities: dict[tuple[str, int], set[str]] = {}
    for model, version, identity in _ready(told):
        identities.setdefault((model, version), set()).add(identity)
    return sorted({model for (model, _), found in identities.items() if len(found) > 1})


def _ready(told: Mapping[int, Sequence[Facts]]) -> list[tuple[str, int, str]]:
    facts = (one for process in told.values() for one in process)
    return [
        (one["model"], int(one["version"]), one.get("identity", ""))
        for one in facts
        if one["version"] and one.get("state") == State.READY
    ]
