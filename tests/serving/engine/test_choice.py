"""Which artifact is opened: configured, fastest by this machine's profile, or preferred; and no profile stops a load."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models import machine, profiles
from models.machine import Machine
from models.profiles import FILENAME
from models.repository import ModelVersion, Repository
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.local import LocalEngine
from tests import toys
from tests.models.profiling import measurement, profile
from tests.serving import strangers
from tests.serving.live import serving

Load = Callable[..., LocalEngine]
BOTH = ("onnx", "torchscript")


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return toys.publish(tmp_path, formats=BOTH)


def choice(root: Path, name: str = "toy", number: int = 1) -> tuple[str | None, str]:
    servable, config = open_version(Repository(root), name, number, UnverifiedPolicy())
    return config.format, servable.chosen


def configure(root: Path, text: str) -> None:
    (root / "toy" / "config.toml").write_text(text)


def test_without_a_profile_the_preferred_one_is_opened(tmp_path: Path, version: ModelVersion) -> None:
    assert choice(tmp_path) == ("onnx", "preferred")


def test_the_fastest_is_opened_and_said_wherever_one_looks(
    tmp_path: Path, version: ModelVersion, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 100, "torchscript": 300}))
    caplog.set_level(logging.INFO)
    engine = load(tmp_path)
    assert engine.config("toy").format == "torchscript"
    assert engine.metadata("toy").platform == "pytorch_torchscript"
    assert engine.metadata("toy").chosen == "profile"
    assert [status.reason for status in engine.index()] == ["format: torchscript, the fastest by this machine's profile"]
    assert "event=model_opened model=toy version=1 format=torchscript chosen=profile " in caplog.text


def test_what_is_configured_wins_and_a_lone_format_needs_no_choice(tmp_path: Path, version: ModelVersion) -> None:
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 100, "torchscript": 300}))
    configure(tmp_path, 'format = "onnx"')
    assert choice(tmp_path) == ("onnx", "configured")
    toys.publish(tmp_path, "alone")
    assert choice(tmp_path, "alone") == ("onnx", "only")
    strangers.put(tmp_path, "net", strangers.double())
    assert choice(tmp_path, "net") == ("onnx", "only")


def test_it_is_measured_with_the_threads_that_are_configured(tmp_path: Path, version: ModelVersion) -> None:
    measured = profile(version.digest, {"onnx": 100, "torchscript": 90})
    measured = replace(
        measured,
        formats=tuple(
            replace(one, measurements=(*one.measurements, measurement(rate, threads=2)))
            for one, rate in zip(measured.formats, (100, 300), strict=True)
        ),
    )
    profiles.record(Repository(tmp_path), "toy", measured)
    assert choice(tmp_path) == ("onnx", "profile")
    configure(tmp_path, "threads = 2")
    assert choice(tmp_path) == ("torchscript", "profile")


def test_another_version_another_machine_another_runtime_say_nothing(tmp_path: Path, version: ModelVersion) -> None:
    fast = {"onnx": 100, "torchscript": 300}
    here = machine.here()
    older = profile(version.digest, fast)
    for foreign in (
        profile("0" * 64, fast),
        profile(version.digest, fast, on=Machine("another", here.cores)),
        profile(version.digest, fast, on=Machine(here.processor, here.cores + 1)),
        replace(older, formats=tuple(replace(one, runtime=f"{one.runtime}.1") for one in older.formats)),
    ):
        profiles.record(Repository(tmp_path), "toy", foreign)
        assert choice(tmp_path) == ("onnx", "preferred")


@pytest.mark.parametrize("rates", [{"onnx": 100, "onnx_int8": 900}, {"onnx": 100, "exported_program": 900}, {"": 900}])
def test_neither_a_quantized_format_nor_one_that_is_not_there(
    tmp_path: Path, version: ModelVersion, rates: dict[str, float]
) -> None:
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, rates))
    assert choice(tmp_path)[0] == "onnx"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_text("[" * 500_000),
        lambda path: path.write_bytes(b" " * 2_000_000),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
    ],
)
def test_a_profile_that_cannot_be_read_is_told_of_and_changes_nothing(
    tmp_path: Path, version: ModelVersion, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "toy" / FILENAME)
    assert choice(tmp_path) == ("onnx", "preferred")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    said = record.getMessage().replace('"', "'")
    assert said.startswith(f"event=profile_ignored model=toy version=1 reason='{FILENAME}")
    assert "\n" not in record.getMessage()


def test_a_new_profile_is_followed_at_the_next_load_and_an_equal_one_opens_nothing_anew(
    tmp_path: Path, version: ModelVersion, load: Load
) -> None:
    engine = load(tmp_path)
    before = engine.opened_from("toy")
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 300, "torchscript": 100}))
    engine.management.load("toy").result()
    assert engine.opened_from("toy") == before, "the same format, the very same session"
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 100, "torchscript": 300}))
    engine.management.load("toy").result()
    assert engine.config("toy").format == "torchscript"
    assert engine.opened_from("toy") != before, "so that a successor of other workers notices"


def test_two_workers_open_what_the_profile_says_and_both_follow_a_new_one(tmp_path: Path, version: ModelVersion) -> None:
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 100, "torchscript": 300}))
    with serving(tmp_path, "--workers", "2", "--management") as server:
        server.until(lambda: sum("format=torchscript chosen=profile" in line for line in server.log) == 2, "opened by both")
        server.until(lambda: server.value("sameway_model_state", state="ready") == 2, "ready in both")
        config = server.ask("GET", "/v2/models/toy/config").json()
        assert config["parameters"]["format"] == {"string_value": "torchscript"}
        assert config["parameters"]["format_chosen"] == {"string_value": "profile"}
        profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 900, "torchscript": 300}))
        assert server.ask("POST", "/v2/repository/models/toy/load").status == 200
        server.until(lambda: sum("format=onnx chosen=profile" in line for line in server.log) == 2, "opened anew by both")
        (line,) = server.ask("POST", "/v2/repository/index").json()
        assert line["reason"] == "format: onnx, the fastest by this machine's profile"


def test_a_profile_of_this_machine_s_processor_says_nothing_of_a_gpu(tmp_path: Path, version: ModelVersion) -> None:
    profiles.record(Repository(tmp_path), "toy", profile(version.digest, {"onnx": 100, "torchscript": 300}))
    assert choice(tmp_path) == ("torchscript", "profile")
    configure(tmp_path, 'device = "cuda:0"')
    assert choice(tmp_path) == ("onnx", "preferred")
