"""What a measurement belongs to is the same wherever it is asked, and differs where speed does."""

import os
from pathlib import Path

import pytest

from models import machine
from models.machine import free_memory, processor, runtime_of, usable_cores

EPYC = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: another\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("400000 100000", 4), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", 8), ("odd", 8)],
)
def test_cores_are_those_of_the_affinity_and_of_the_containers_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores
    assert usable_cores(tmp_path / "absent") == 8


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (EPYC, "AMD EPYC (family 26, model 2)"),
        ("model name\t: Odd\n", "Odd"),
        (ARM, f"{os.uname().machine} (implementer 0x41, part 0xd0c)"),
        ("", os.uname().machine),
    ],
)
def test_a_processor_is_called_what_it_calls_itself(tmp_path: Path, cpuinfo: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert processor(tmp_path / "cpuinfo") == expected


def test_without_a_proc_file_system_the_architecture_is_all_there_is(tmp_path: Path) -> None:
    assert processor(tmp_path / "absent") == os.uname().machine


def test_this_machine_is_the_same_each_time_and_can_be_shown() -> None:
    here = machine.here()
    assert here == machine.here()
    assert here.cores >= 1
    assert str(here).startswith(f"{here.processor}, {here.cores} core")


def test_runtimes_are_named_with_their_versions_and_unknown_ones_not_at_all() -> None:
    import onnxruntime

    assert runtime_of("onnx") == runtime_of("onnx_int8") == f"onnxruntime {onnxruntime.__version__}"
    assert str(runtime_of("torchscript")).startswith("torch 2.")
    assert runtime_of("torchscript") == runtime_of("exported_program")
    assert runtime_of("papyrus") is None


def test_free_memory_is_that_of_the_machine_and_of_the_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert free_memory(meminfo, tmp_path) == 0
    meminfo.write_text("MemTotal: 4000 kB\nMemAvailable:  2000 kB\n")
    assert free_memory(meminfo, tmp_path) == 2000 * 1024
    (tmp_path / "memory.current").write_text("4000\n")
    for most, free in (("max", 2000 * 1024), ("10000", 6000), ("3000", 0)):
        (tmp_path / "memory.max").write_text(f"{most}\n")
        assert free_memory(meminfo, tmp_path) == free
    assert free_memory() > 0
