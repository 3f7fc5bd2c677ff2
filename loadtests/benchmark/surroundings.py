"""What figures depend on besides the servers: the machine, and the versions of what ran on it."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from loadtests.benchmark.side import FRAMEWORK, Side

_PACKAGES = ("fastapi", "flask", "gunicorn", "numpy", "onnxruntime", "orjson", "starlette", "uvicorn", "uvloop", "httptools")


def surroundings(generator: str, sides: Sequence[Side] = ()) -> dict[str, object]:
    """Return it, before anything is measured, with the versions of the frameworks among the sides."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        # Before anything is measured: what others do on the machine takes from all sides, but not evenly.
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "wrk": generator,
        **{name: version(name) for name in _PACKAGES},
        "frameworks": {_framework(side): _version(side) for side in sides if side.family == FRAMEWORK},
    }


def machine(around: dict[str, object]) -> str:
    """Return the machine in words."""
    named = f"{around['processor']}, {around['cores']} cores, {around['memory_gb']} GB, {around['system']}"
    return f"{named}; load average {around['load_average_before']} before the run"


def _framework(side: Side) -> str:
    """Return the name of a framework, of which several sides may be ways to use it."""
    return side.name.partition(",")[0]


def _version(side: Side) -> str:
    """Return which version of a framework its environment holds, as the package says that is called like the side."""
    package = _framework(side).lower()
    asks = f"import importlib.metadata as found; print(found.version({package!r}))"
    said = subprocess.run([side.command[0], "-c", asks], capture_output=True, text=True, check=False)  # noqa: S603
    return said.stdout.strip() or "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
