"""The GPUs' figures, from a library that says what the test wants."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serving import gpu
from tests.serving.live import ROOT, serving


class Fault(Exception):
    """What the library raises."""


class FakeNvml:
    """A library for GPUs given as what each of its functions says of them; None: the function fails."""

    NVMLError = Fault

    def __init__(self, *gpus: SimpleNamespace) -> None:
        self._gpus = gpus

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's names
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:  # noqa: N802
        return said(self._gpus[index] if self._gpus[index].there else None)

    def nvmlDeviceGetName(self, handle: SimpleNamespace) -> object:  # noqa: N802
        return said(handle.name)

    def nvmlDeviceGetUtilizationRates(self, handle: SimpleNamespace) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=said(handle.percent), memory=0)

    def nvmlDeviceGetMemoryInfo(self, handle: SimpleNamespace) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=said(handle.used), total=100, free=0)

    def nvmlDeviceGetPowerUsage(self, handle: SimpleNamespace) -> object:  # noqa: N802
        return said(handle.milliwatts)


def said(value: object) -> "SimpleNamespace":
    if value is None:
        raise Fault
    return value  # type: ignore[return-value]


def card(**other: object) -> SimpleNamespace:
    return SimpleNamespace(**{"there": True, "name": "H100", "percent": 40, "used": 30, "milliwatts": 250_500, **other})


def shown(*gpus: SimpleNamespace) -> list[str]:
    registry = CollectorRegistry()
    registry.register(gpu.GpuCollector(FakeNvml(*gpus)))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_every_gpu_has_its_figures_in_base_units() -> None:
    assert shown(card(), card(name=b"L4", percent=100)) == [
        'sameway_gpu_utilization{index="0",name="H100"} 0.4',
        'sameway_gpu_utilization{index="1",name="L4"} 1.0',
        'sameway_gpu_memory_used_bytes{index="0",name="H100"} 30.0',
        'sameway_gpu_memory_used_bytes{index="1",name="L4"} 30.0',
        'sameway_gpu_memory_total_bytes{index="0",name="H100"} 100.0',
        'sameway_gpu_memory_total_bytes{index="1",name="L4"} 100.0',
        'sameway_gpu_power_watts{index="0",name="H100"} 250.5',
        'sameway_gpu_power_watts{index="1",name="L4"} 250.5',
    ]


def test_a_figure_that_a_gpu_does_not_have_is_left_out_and_the_others_are_there() -> None:
    assert shown(card(milliwatts=None, used=None)) == ['sameway_gpu_utilization{index="0",name="H100"} 0.4']


def test_a_gpu_that_is_gone_hides_no_other() -> None:
    assert {line.split('"')[1] for line in shown(card(there=False), card())} == {"1"}


def test_no_gpu_means_no_series() -> None:
    assert shown() == []
    assert shown(card(percent=None, used=None, milliwatts=None)) == []


def test_without_the_package_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.find_nvml() is None


def test_without_a_driver_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise Fault

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=Fault, nvmlInit=init))
    assert gpu.find_nvml() is None


def test_the_real_library_is_asked_without_a_word_whether_a_driver_is_there_or_not(toy_repository: Path) -> None:
    program = "from serving.gpu import find_nvml; print(find_nvml() is not None)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with serving(toy_repository) as server:
        exposed = "sameway_gpu_memory_total_bytes{" in server.ask("GET", "/metrics").body.decode()
    assert exposed == (done.stdout.strip() == "True")
    assert not [line for line in server.log if "gpu" in line.lower() or "nvml" in line.lower()]
