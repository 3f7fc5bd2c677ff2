from pathlib import Path

import pytest

from proofs import rolling
from proofs.verdict import table


@pytest.mark.skipif(rolling.nginx() is None, reason="nginx is not installed")
def test_a_rolling_restart_behind_nginx_fails_nobody() -> None:
    program = rolling.nginx()
    assert program is not None
    verdicts = rolling.prove(program, restarts=1)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_the_configuration_is_the_one_that_people_copy_on_other_ports() -> None:
    text = rolling.configuration(Path("/somewhere"), 5000, [6000, 7000])
    assert "listen 127.0.0.1:5000;" in text
    assert "server 127.0.0.1:6000 " in text
    assert "server 127.0.0.1:7000 " in text
    others = [line for line in text.splitlines() if "_temp_path" not in line]
    assert len(others) == len(rolling.CONFIGURATION.read_text().splitlines())


def test_where_nginx_is_missing_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rolling, "nginx", lambda: None)
    monkeypatch.setattr("sys.argv", ["rolling"])
    assert rolling.main() == rolling.MISSING
    assert "nginx is not installed" in capsys.readouterr().err
