import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmark import wrk
from loadtests.benchmark.command import main
from loadtests.benchmark.side import CannotRun, Exchange

with_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@pytest.mark.parametrize("command", ["check", "compare"])
def test_without_wrk_it_says_what_is_missing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([command]) == 2
    captured = capsys.readouterr()
    assert "needs the program 'wrk'" in captured.err
    assert "apt-get install wrk" in captured.err
    assert captured.out == ""


def test_a_word_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--rounds", "0"])
    assert ended.value.code == 2
    assert "expected 1 or more, found 0" in capsys.readouterr().err


@with_wrk
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--against", "{folder}"], "--against: expected a checkout of this project"),
        (["--sides", "nobody"], "--sides: expected words of 'Sameway, FastAPI, 1 worker'"),
        (["--works", "nothing"], "--works: expected words of 'one image, JSON, 1 connection'"),
    ],
)
def test_what_is_not_there_cannot_be_measured(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(word.format(folder=tmp_path) for word in words)]) == 2
    assert said in capsys.readouterr().err


@with_wrk
def test_a_glance_tells_and_keeps_every_round_and_can_be_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.benchmark.command._IDLE_SECONDS", 0.1)
    kept = tmp_path / "new" / "figures.json"
    words = ["--rounds", "1", "--seconds", "1", "--sides", "hand, 1", "--models", "small"]
    words += ["--works", "one image, binary, 16"]
    assert main(["compare", *words, "--json", str(kept)]) == 0
    told = capsys.readouterr().out
    figures = json.loads(kept.read_text())
    assert {one["side"] for one in figures["rounds"]} == {"FastAPI by hand, 1 worker"}
    assert all(one["requests_per_second"] > 0 and one["cpu_us"] > 0 for one in figures["rounds"])
    assert 20 < figures["footprints"][0]["peak_mb"] < 1000
    assert "4." in figures["environment"]["wrk"]
    assert "| FastAPI by hand, 1 worker | " in told
    assert main(["show", str(kept)]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("text", ["", "[]", '{"environment": {}}'])
def test_only_what_was_kept_can_be_shown(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "figures.json").write_text(text)
    assert main(["show", str(tmp_path / "figures.json")]) == 2
    assert "expected what `compare --json` writes" in capsys.readouterr().err


@with_wrk
def test_answers_that_are_no_answers_are_not_counted(tmp_path: Path) -> None:
    exchange = Exchange("/", b"body", lambda *_: np.zeros(1), {"x-name": "value"})
    script = wrk.write_script(exchange, tmp_path, "name")
    assert 'wrk.headers["x-name"] = "value"' in script.read_text()
    with pytest.raises(CannotRun, match=r"errors|without figures"):
        wrk.load(wrk.find(), script, 1, exchange, connections=1, seconds=1)  # nobody listens on port 1
