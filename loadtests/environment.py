"""Where a load test was made: this machine, its load, the generator's libraries; and what is known of the server's."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.bodies import Sample, distinct
from loadtests.calibration import Speed, drift
from loadtests.server import Server
from models import machine

Json = dict[str, Any]  # Any: JSON

_LIBRARIES = ("sameway", "locust", "gevent", "geventhttpclient", "numpy")


def here(speeds: Sequence[Speed]) -> Json:
    """Return this machine as it was: its processor, how busy it was, how its speed drifted, and what generated the load."""
    return {
        "machine": str(machine.here()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "calibration": [speed.to_json() for speed in speeds],
        "drift": round(drift([speed.milliseconds for speed in speeds]), 4),
    }


def target(server: Server, samples: Mapping[str, Sequence[Sample]], image: str | None) -> Json:
    """Return what is known of a server: its word on itself, and of each model the version and the source of expectations."""
    models = {}
    for model, rows in samples.items():
        case = rows[0].case
        models[model] = {
            "version": case.version,
            "digest": case.digest,
            "expected": case.source,
            "samples": len(rows),
            "distinct": distinct(list(rows)),
            "random": sorted(case.random),
        }
    return {
        "url": server.url,
        "identity": server.identity(),
        "same_machine": server.on_loopback,
        "image": image or os.environ.get("SAMEWAY_IMAGE"),
        "models": models,
    }


def nobody(url: str | None) -> Json:
    """Return what is known of a server of which nothing has been found out."""
    return {"url": url or "", "identity": {}, "same_machine": False, "image": None, "models": {}}


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None
