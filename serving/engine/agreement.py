"""Do all processes of a server serve the same? What each says of itself in the counters, put side by side.

A process reads configurations and profiles from the disk when it opens a version, so one that a hand or a program changes
in that very moment may be read in two ways, and a version that is only arriving may be opened by one process and not by
another. What a version was opened from, and how, has an identity (see ServedVersion).
"""

from collections.abc import Mapping, Sequence

from serving.block_bytes import Facts
from serving.engine.base import State


def served(told: Mapping[int, Sequence[Facts]]) -> dict[str, dict[int, str]]:
    """Return the versions that some process serves, each with the identity that one of them gives it."""
    found: dict[str, dict[int, str]] = {}
    for process in of_each(told).values():
        for model, versions in process.items():
            found.setdefault(model, {}).update(versions)
    return found


def differing(told: Mapping[int, Sequence[Facts]]) -> list[str]:
    """Return the models of which two processes serve other versions, or one version opened in two ways.

    Of a process that loads nobody knows yet: `told` is by those that have loaded.
    """
    processes = list(of_each(told).values())
    models = {model for process in processes for model in process}
    return sorted(model for model in models if any(one.get(model) != processes[0].get(model) for one in processes))


def of_each(told: Mapping[int, Sequence[Facts]]) -> dict[int, dict[str, dict[int, str]]]:
    """Return, of each process, the versions that it serves of each model, with the identity it gives them."""
    found: dict[int, dict[str, dict[int, str]]] = {process: {} for process in told}
    for process, facts in told.items():
        for one in facts:
            if one["version"] and _is_open(one):
                found[process].setdefault(one["model"], {})[int(one["version"])] = one.get("identity", "")
    return found


def _is_open(facts: Facts) -> bool:
    """Tell whether a version is served, be it that a batch hangs in it: whoever follows that process is to serve it too."""
    state = facts.get("state")
    return state == State.READY or (state == State.UNAVAILABLE and facts.get("vouched") is not None)
