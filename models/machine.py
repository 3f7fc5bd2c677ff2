"""What a measurement belongs to: this machine, as far as it decides how fast a model runs here, and its runtimes.

Export writes it beside what it measures, serving looks for what was measured on the same: both ask here. Everything runs on
the CPU; where a format comes to run on a GPU, `processor` is the GPU's model.
"""

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

from models import fields

_CPUINFO, _MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
#: Where a container sees its share of the processor (cgroup v2): "200000 100000" are two cores' time, "max" is no limit.
_GROUP = Path("/sys/fs/cgroup")
_QUOTA = _GROUP / "cpu.max"

#: What begins the name of a format → the packages that run it, of which one is installed: names on PyPI.
_RUNTIMES = {"onnx": ("onnxruntime", "onnxruntime-gpu"), "exported_program": ("torch",), "torchscript": ("torch",)}


@dataclass(frozen=True, slots=True)
class Machine:
    """The processor's model, as it names itself, and the cores of it that this process may use."""

    processor: str
    cores: int

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} core{'' if self.cores == 1 else 's'}"

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Machine":
        """Read what was written of a machine; raise FieldError."""
        return cls(processor=fields.text(json, "processor"), cores=fields.count(json, "cores"))


def here() -> Machine:
    """Return the machine this process runs on."""
    return Machine(processor(), usable_cores())


def usable_cores(quota_file: Path = _QUOTA) -> int:
    """Return the cores that this process may use, by its affinity and by its container's share; one at least."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(quota_file)
    return max(1, cores if quota is None else min(cores, quota))


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """Return the model of the processor; where nothing tells it, the architecture alone (`aarch64`).

    With family and model numbers where there are any: a hypervisor may call three generations "AMD EPYC".
    """
    architecture = os.uname().machine
    try:
        first = cpuinfo.read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return architecture
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if facts.get("model name"):
        numbers = [f"{key.rpartition(' ')[2]} {facts[key]}" for key in ("cpu family", "model") if facts.get(key)]
        return " ".join([facts["model name"], *([f"({', '.join(numbers)})"] if numbers else [])])
    # ARM gives numbers only: https://www.kernel.org/doc/html/latest/arch/arm64/cpu-feature-registers.html (MIDR_EL1)
    numbers = [f"{key.removeprefix('CPU ')} {facts[key]}" for key in ("CPU implementer", "CPU part") if facts.get(key)]
    return " ".join([architecture, *([f"({', '.join(numbers)})"] if numbers else [])])


def runtime_of(format: str) -> str | None:
    """Return what would run a format here, with its version (`onnxruntime 1.32.0`), or None. Imports nothing."""
    packages = next((names for known, names in _RUNTIMES.items() if format.startswith(known)), ())
    for package in packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def free_memory(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int:
    """Return the bytes that processes could still take, in this machine and in this container; 0 where nothing tells it."""
    try:
        lines = meminfo.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return 0
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # not in a container, or "max"
        return free
    return max(0, min(free, left))


def _quota(file: Path) -> int | None:
    """Return the whole cores of the container's share, or None without a limit."""
    try:
        quota, period = file.read_text().split()
        return int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):  # not in a container, "max", or another kind of system
        return None
