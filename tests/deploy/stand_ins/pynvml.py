"""A stand-in for NVIDIA's binding, put in front of the real one on a server's path: two GPUs on a machine that has none.

So the GPU's metrics come out of the real server, with their real names; the figures mean nothing.
"""

from types import SimpleNamespace


class NVMLError(Exception):
    """What the real one raises; this one never."""


def nvmlInit() -> None:  # noqa: N802 - the library's names
    """Be ready."""


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return 2


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    return index


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802
    return f"a stand-in, {handle}"


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(gpu=40 + handle, memory=10)


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(used=30 << 30, total=80 << 30, free=50 << 30)


def nvmlDeviceGetPowerUsage(handle: int) -> int:  # noqa: N802
    return 250_000 + handle
