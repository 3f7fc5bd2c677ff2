"""What the GPUs of this machine do, as NVIDIA's management library (NVML) tells it, read when /metrics is scraped.

Where the library, the driver or a figure is not there, neither are the series: a machine without a GPU is no error.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

# Any: a module without types, of which these names are used: nvmlInit, nvmlDeviceGetCount, …HandleByIndex, …Name,
# …UtilizationRates, …MemoryInfo, …PowerUsage and NVMLError.
Nvml = Any

_LABELS = ("index", "name")


class GpuCollector:
    """Reads every GPU that the driver shows. Figures are the machine's, not this process's."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of all GPUs; a figure that a GPU does not have (on many, power) is left out."""
        nvml = self._nvml
        utilization = GaugeMetricFamily(
            "sameway_gpu_utilization", "Share of the last sample period in which a kernel ran, 0 to 1.", labels=_LABELS
        )
        used = GaugeMetricFamily("sameway_gpu_memory_used_bytes", "GPU memory in use, by anybody.", labels=_LABELS)
        total = GaugeMetricFamily("sameway_gpu_memory_total_bytes", "GPU memory there is.", labels=_LABELS)
        power = GaugeMetricFamily("sameway_gpu_power_watts", "Power drawn by the whole board.", labels=_LABELS)
        for index, handle in self._handles():
            name = self._read(nvml.nvmlDeviceGetName, handle)
            labels = (str(index), name.decode() if isinstance(name, bytes) else name or "")
            if (rates := self._read(nvml.nvmlDeviceGetUtilizationRates, handle)) is not None:
                utilization.add_metric(labels, rates.gpu / 100)
            if (memory := self._read(nvml.nvmlDeviceGetMemoryInfo, handle)) is not None:
                used.add_metric(labels, memory.used)
                total.add_metric(labels, memory.total)
            if (milliwatts := self._read(nvml.nvmlDeviceGetPowerUsage, handle)) is not None:
                power.add_metric(labels, milliwatts / 1000)
        yield from (family for family in (utilization, used, total, power) if family.samples)

    def _handles(self) -> Iterator[tuple[int, Any]]:
        """Yield number and handle of every GPU; one that has fallen off the bus is passed over."""
        for index in range(self._read(self._nvml.nvmlDeviceGetCount) or 0):
            handle = self._read(self._nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                yield index, handle

    def _read(self, ask: Callable[..., Any], *about: Any) -> Any:
        """Return what the library says, None where it says that it cannot."""
        try:
            return ask(*about)
        except self._nvml.NVMLError:
            return None


def find_nvml() -> Nvml | None:
    """Return NVML, ready to be asked; None where the package (extra `gpu`) or the driver is missing."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
