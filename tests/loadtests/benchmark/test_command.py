import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmark import wrk
from loadtests.benchmark.command import main
from loadtests.benchmark.side import CannotRun, Exchange

with_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def test_without_wrk_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "needs the program 'wrk'" in captured.err
    assert "apt-get install wrk" in captured.err
    assert captured.out == ""


def test_a_word_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rounds", "0"])
    assert ended.value.code == 2
    assert "expected 1 or more, found 0" in capsys.readouterr().err


@with_wrk
def test_another_checkout_has_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", str(tmp_path)]) == 2
    assert "--against: expected a checkout of this project" in capsys.readouterr().err


@with_wrk
def test_a_glance_prints_a_table_and_keeps_every_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "new" / "figures.json"
    words = ["--rounds", "1", "--seconds", "1", "--connections", "2", "--kinds", "binary", "--json", str(kept)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[2] for line in lines if line.startswith("| binary")] == [
        "bare FastAPI",
        "Sameway, FastAPI",
        "Sameway, Flask",
    ]
    figures = json.loads(kept.read_text())
    assert len(figures["rounds"]) == 3
    assert all(one["requests"] > 0 and one["cpu_us"] > 0 for one in figures["rounds"])
    assert figures["environment"]["wrk"].startswith("wrk ")


@with_wrk
def test_answers_that_are_no_answers_are_not_counted(tmp_path: Path) -> None:
    exchange = Exchange("/", b"body", lambda *_: np.zeros(1), {"x-name": "value"})
    script = wrk.write_script(exchange, tmp_path, "name")
    assert 'wrk.headers["x-name"] = "value"' in script.read_text()
    with pytest.raises(CannotRun, match=r"errors|without figures"):
        wrk.load(wrk.find(), script, 1, exchange, connections=1, seconds=1)  # nobody listens on port 1
