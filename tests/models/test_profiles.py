"""profiles.json: what is written is read, what is not ours is refused, and noise does not move what is the fastest."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import profiles
from models.machine import Machine
from models.profiles import FILENAME, PREFERENCE, ProfileError, Throughput, fastest
from models.repository import Repository
from tests.models.profiling import measurement, profile

ELSEWHERE = Machine("another", 64)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "toy").mkdir()
    return Repository(tmp_path)


def written(repository: Repository) -> Path:
    return repository.root / "toy" / FILENAME


def test_what_is_recorded_is_read_and_found_by_version_and_machine(repository: Repository) -> None:
    one, other = profile("a" * 64, {"onnx": 1.0}), profile("a" * 64, {"onnx": 2.0}, on=ELSEWHERE)
    profiles.record(repository, "toy", one)
    profiles.record(repository, "toy", other)
    known = profiles.read(repository.root / "toy")
    assert profiles.find(known, one.digest, one.machine) == one
    assert profiles.find(known, one.digest, ELSEWHERE) == other
    assert profiles.find(known, "b" * 64, ELSEWHERE) is None
    assert written(repository).stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (repository.root / "toy").iterdir()] == [FILENAME]


def test_a_new_profile_takes_the_place_of_the_old_one(repository: Repository) -> None:
    for rate in (1.0, 2.0):
        newest = profile("a" * 64, {"onnx": rate})
        profiles.record(repository, "toy", newest)
    assert profiles.read(repository.root / "toy") == (newest,)


def test_the_oldest_go_where_there_are_too_many(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_MOST_PROFILES", 2)
    for number in range(4):
        profiles.record(
            repository, "toy", replace(profile(f"{number}" * 64, {"onnx": 1.0}), measured=f"2026-01-0{number + 1}")
        )
    assert [one.digest[0] for one in profiles.read(repository.root / "toy")] == ["2", "3"]


def test_a_writer_that_was_killed_in_the_middle_is_in_nobodys_way(repository: Repository) -> None:
    (repository.root / "toy" / f".{FILENAME}.new").write_text("half of it")
    profiles.record(repository, "toy", profile("a" * 64, {"onnx": 1.0}))
    assert len(profiles.read(repository.root / "toy")) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "expected an object"),
        ('{"schema": 2, "profiles": []}', "schema: expected 1, found 2"),
        ('{"schema": 1}', "profiles: expected a list, found None"),
        ('{"schema": 1, "profiles": [1]}', r"profiles\[0\]: expected an object"),
        (f'{{"schema": 1, "profiles": {"9" * 5000}}}', "is not JSON"),
        (" " * (1024 * 1024 + 1), "expected at most 1,048,576 bytes"),
    ],
)
def test_what_is_not_ours_is_refused_and_not_overwritten(repository: Repository, text: str, says: str) -> None:
    written(repository).write_text(text)
    with pytest.raises(ProfileError, match=says):
        profiles.read(repository.root / "toy")
    with pytest.raises(ProfileError, match=says):
        profiles.record(repository, "toy", profile("a" * 64, {"onnx": 1.0}))
    assert written(repository).read_text() == text


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_plain_file_is_refused(repository: Repository, make: Callable[[Path], None]) -> None:
    make(written(repository))
    with pytest.raises(ProfileError, match=f"{FILENAME}: expected a regular file"):
        profiles.read(repository.root / "toy")


@pytest.mark.parametrize(("key", "value"), [("rows_per_second", 0), ("rows_per_second", -1.0), ("rows_per_second", True)])
def test_a_speed_is_more_than_nothing(repository: Repository, key: str, value: object) -> None:
    profiles.record(repository, "toy", profile("a" * 64, {"onnx": 1.0}))
    facts = json.loads(written(repository).read_text())
    facts["profiles"][0]["formats"][0]["measurements"][0]["throughput"][1][key] = value
    written(repository).write_text(json.dumps(facts))
    with pytest.raises(
        ProfileError, match=r"profiles\[0\]\.formats\[0\]\.measurements\[0\]\.throughput\[1\]\.rows_per_second"
    ):
        profiles.read(repository.root / "toy")


def test_a_folder_that_cannot_be_written_is_one_line(repository: Repository) -> None:
    with pytest.raises(ProfileError, match=r"cannot write .*profiles\.json: No such file or directory"):
        profiles.record(repository, "absent", profile("a" * 64, {"onnx": 1.0}))


def test_the_best_batch_is_the_smallest_of_those_that_carry_as_much() -> None:
    throughput = tuple(Throughput(rows, rate) for rows, rate in ((1, 10.0), (2, 96.0), (4, 100.0), (8, 60.0)))
    assert replace(measurement(1), throughput=throughput).best == Throughput(2, 96.0)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({"onnx": 100, "torchscript": 120}, "torchscript"),
        ({"onnx": 120, "torchscript": 100}, "onnx"),
        ({"onnx": 100, "exported_program": 110, "torchscript": 120}, "torchscript"),
        ({"onnx": 100, "torchscript": 104}, "onnx"),  # as fast: the first in the order of preference
        ({"onnx": measurement(100, p50=2e-3), "torchscript": measurement(99, p50=1e-3)}, "torchscript"),
        ({"onnx": measurement(100, p50=1.04e-3), "torchscript": measurement(101, p50=1e-3)}, "onnx"),
        ({"onnx": 100}, "onnx"),
        ({"torchscript": 100}, None),  # faster than what? the preferred one was not measured
        ({}, None),
        ({"onnx": 100, "onnx_int8": 10_000}, "onnx"),
        ({"onnx": 100, "papyrus": 10_000}, "onnx"),
    ],
)
def test_the_fastest_is(rates: dict[str, Any], chosen: str | None) -> None:
    assert fastest(profile("a" * 64, rates), PREFERENCE, threads=1) == chosen


def test_a_format_that_the_version_does_not_have_is_not_chosen() -> None:
    assert fastest(profile("a" * 64, {"onnx": 1, "torchscript": 9}), ("onnx", "exported_program"), threads=1) == "onnx"


def test_another_version_of_a_runtime_was_not_measured() -> None:
    measured = profile("a" * 64, {"onnx": 1, "torchscript": 9})

    def newer(format: str) -> str | None:
        return "torch 9.9.9" if format == "torchscript" else measured.formats[0].runtime

    assert fastest(measured, PREFERENCE, threads=1, runtime_of=newer) == "onnx"
    assert fastest(measured, PREFERENCE, threads=1, runtime_of=lambda format: None) is None


def test_what_was_measured_with_more_threads_than_are_configured_does_not_count() -> None:
    measured = profile("a" * 64, {"onnx": 10, "torchscript": 9})
    twice = tuple(
        replace(one, measurements=(*one.measurements, measurement(rate, threads=2)))
        for one, rate in zip(measured.formats, (11, 30), strict=True)
    )
    measured = replace(measured, formats=twice)
    assert fastest(measured, PREFERENCE, threads=1) == "onnx"
    assert [fastest(measured, PREFERENCE, threads=threads) for threads in (2, 3)] == ["torchscript", "torchscript"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["onnx", "torchscript"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(steps=st.lists(st.integers(0, 20), max_size=8), value=JSON)
def test_whatever_stands_in_the_file_it_is_refused_or_chooses_among_what_there_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], value: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile"
    folder.mkdir(exist_ok=True)
    good = profile("a" * 64, {"onnx": 100.0, "torchscript": 200.0, "onnx_int8": 900.0})
    data = json.loads(profiles._bytes_of([good]))
    (folder / FILENAME).write_text(json.dumps(_spoiled(data, steps, value)))
    try:
        known = profiles.read(folder)
    except ProfileError:
        return
    found = profiles.find(known, good.digest, good.machine)
    assert found is None or fastest(found, ("onnx", "torchscript"), threads=1) in ("onnx", "torchscript", None)


def _spoiled(data: Any, steps: list[int], value: object) -> Any:  # Any: JSON
    """Return the JSON with what a path leads to replaced."""
    if not steps or not isinstance(data, dict | list) or not data:
        return value
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = keys[steps[0] % len(keys)]
    changed = dict(data) if isinstance(data, dict) else list(data)
    changed[key] = _spoiled(data[key], steps[1:], value)
    return changed
