"""Measuring, for real: processes of their own, that take turns, say what they cannot do, and are gone afterwards."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from export import profile, timed, version_path
from export.profile import measure, thread_counts
from export.profile_child import Job, batch_of
from export.timed import NotMeasured, Timed, batch_sizes, started
from models import machine
from models.repository import ModelVersion
from models.tensors import Tensors
from tests import toys
from tests.serving import graphs

#: Of the toy hundreds of calls fit into it.
SECONDS = 0.2


def opened(root: Path, name: str = "toy") -> tuple[version_path.VersionPath, ModelVersion]:
    place = version_path.find(str(root / name))
    return place, place.open()


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure on one thread alone: each more costs processes, and shows nothing else."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)


@pytest.mark.usefixtures("one_core")
def test_every_format_is_measured_and_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    version = toys.publish(tmp_path, formats=("onnx", "torchscript"))
    bad = replace(version.manifest.artifacts[0], format="papyrus", file="model.pt")
    place, version = opened(tmp_path)
    version = replace(version, manifest=replace(version.manifest, artifacts=(*version.manifest.artifacts, bad)))
    told: list[str] = []
    done = measure(place, version, seconds=SECONDS, tell=told.append)
    assert told == ["onnx, torchscript, papyrus on 1 thread"]
    assert list(done.failures) == ["papyrus"]
    assert done.profile.digest == version.digest
    assert done.profile.machine == machine.here()
    assert [one.format for one in done.profile.formats] == ["onnx", "torchscript"]
    for one, package in zip(done.profile.formats, ("onnxruntime ", "torch "), strict=True):
        assert one.runtime.startswith(package)
        assert one.size_bytes == next(a.size_bytes for a in version.manifest.artifacts if a.format == one.format)
        (measured,) = one.measurements
        assert measured.threads == 1
        assert measured.calls > 0
        assert 0 < measured.p50_seconds < 1
        assert measured.p99_seconds is None or measured.p99_seconds >= measured.p50_seconds
        assert [throughput.rows for throughput in measured.throughput] == [1, 2, 4, 8][: len(measured.throughput)]
        assert 0 < measured.session_bytes < measured.peak_bytes
        # An interpreter with its runtime, and not this test's process, which a child's getrusage would tell instead.
        assert 10_000_000 < measured.peak_bytes < 1_000_000_000
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("one_core")
def test_a_model_without_a_batch_axis_is_measured_by_its_request(tmp_path: Path) -> None:
    graphs.publish_counting(tmp_path)
    name = next(path.name for path in tmp_path.iterdir())
    done = measure(*opened(tmp_path, name), seconds=SECONDS)
    (one,) = done.profile.formats
    assert [throughput.rows for throughput in one.measurements[0].throughput] == [0]
    assert one.measurements[0].best.rows_per_second > 0


def test_a_version_that_was_replaced_is_not_measured_under_the_old_name(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    place, version = opened(tmp_path)
    job = profile.job(place, replace(version, digest="0" * 64), "onnx", threads=1)
    with started([job]) as (one,), pytest.raises(NotMeasured, match="toy/1: it was replaced while it was measured"):
        one.ready()


def test_a_process_that_dies_and_one_that_says_nothing_are_told_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.publish(tmp_path)
    place, version = opened(tmp_path)
    with started([profile.job(place, version, "onnx", threads=1, instances=2)]) as (one,):
        one.ready()
        assert [len(taken) for taken in one.run(8, seconds=60, calls=3)] == [3, 3], "calls of each instance"
        (child,) = multiprocessing.active_children()
        monkeypatch.setattr(timed, "_PATIENCE_SECONDS", 0.1)
        with pytest.raises(NotMeasured, match=r"no answer for 0\.1 s"):
            one.run(8, seconds=60, calls=100_000_000)
        monkeypatch.undo()
        child.kill()
        with pytest.raises(NotMeasured, match="its process ended with -9"):
            one.run(8, seconds=1)
    assert not multiprocessing.active_children()


class Recited(Timed):
    """A session of a fixed speed per batch size."""

    def __init__(self, seconds: dict[int, float]) -> None:
        job = Job("", "toy", 1, "", "onnx", 1)
        super().__init__(job, multiprocessing.Process(), multiprocessing.Pipe()[0])
        self._speeds = seconds

    def run(self, rows: int, *, seconds: float, calls: int = 1000) -> list[list[float]]:
        return [[self._speeds[rows]] * 3]


def tried(seconds: dict[int, float], *, longest_seconds: float = 100.0) -> list[int]:
    """Return the batch sizes that are tried."""
    one = Recited(seconds)
    for rows in seconds:
        one.take(rows, seconds=0.0)
        one.settle(rows, longest_seconds=longest_seconds)
    return list(one.rates)


def test_batches_grow_until_two_sizes_in_a_row_carry_no_more() -> None:
    assert tried({1: 1, 2: 1, 4: 1, 8: 1, 16: 1}) == [1, 2, 4, 8, 16], "twice as many rows in the same time"
    assert tried({1: 1, 2: 2, 4: 4, 8: 8, 16: 16}) == [1, 2, 4]
    assert tried({1: 1, 2: 9, 4: 2, 8: 2, 16: 2}) == [1, 2, 4, 8, 16], "one size that was disturbed ends nothing"
    assert tried({1: 1, 2: 1, 4: 1, 8: 1, 16: 1}, longest_seconds=5.0) == [1], "a larger one would take too long"


def test_sizes_and_threads_double_up_to_the_largest() -> None:
    assert [batch_sizes(most) for most in (0, 1, 2, 8, 12)] == [[0], [1], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8, 12]]
    assert [thread_counts(cores) for cores in (1, 2, 6)] == [[1], [1, 2], [1, 2, 4, 6]]
    assert thread_counts(1000)[-1] == 256


def test_a_batch_is_the_golden_sample_over_and_over() -> None:
    golden: Tensors = {"image": toys.images(3)}
    batch = batch_of(toys.signature(), golden, 8)["image"]
    assert batch.shape == (8, 4, 4)
    assert (batch[3:6] == golden["image"]).all()
