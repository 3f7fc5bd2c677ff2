"""The arithmetic of fleets, beside trying every number of servers; what it reads; and the tables of docs/scaling.md."""

import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import fleet
from loadtests.fleet import Policy, Server

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"


def fewest(rate: float, server: Server, policy: Policy) -> int:
    """Return the fewest servers by trying 2, 3, 4, …"""
    servers = 2
    while (servers - fleet.away(servers, policy.away)) * server.limit * policy.busy < rate:
        servers += 1
    return servers


@given(
    rate=st.floats(0.1, 1000),
    limit=st.floats(1, 1000),
    busy=st.sampled_from([0.3, 0.6, 0.9]),
    away=st.sampled_from([0.01, 0.1, 0.25, 0.5]),
)
def test_it_is_the_fewest_servers_that_carry_the_rate(rate: float, limit: float, busy: float, away: float) -> None:
    server, policy = Server(limit, 2, 300), Policy(busy, away)
    found = fleet.fleet(rate, server, policy)
    assert found.servers == fewest(rate, server, policy)
    assert found.busy < found.busy_with_some_away <= busy * (1 + 1e-9)


def test_processor_time_says_what_fills_a_server() -> None:
    assert fleet.limit_of(0.010, cores=4) == pytest.approx(400)


def test_one_server_is_never_enough() -> None:
    found = fleet.fleet(1, Server(1e6, 1, 100), Policy())
    assert found.servers == 2


def test_the_lower_end_of_a_capacity_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"capacity": {"valid": True, "rate": 120.0, "low": 100.0, "high": 150.0}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert fleet.main(["--rates", "120", "--report", str(tmp_path), "--cores", "2"]) == 0
    # 120 of 60 a server: two, and one that may be away.
    assert "| 120 | 3 | 6 | 40 % | 60 % |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no JSON",
        "[" * 100_000,
        "{}",
        '{"capacity": []}',
        '{"capacity": {"valid": false, "low": 10}}',
        '{"capacity": {"valid": true, "low": null}}',
        '{"capacity": {"valid": true, "low": "10"}}',
        '{"capacity": {"valid": true, "low": true}}',
        '{"capacity": {"valid": true, "low": NaN}}',
        '{"capacity": {"valid": true, "low": -1}}',
    ],
)
def test_a_report_without_a_capacity_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    assert fleet.main(["--rates", "10", "--report", str(tmp_path), "--cores", "2"]) == 2
    assert capsys.readouterr().err.startswith("fleet: --report: expected ")


def test_a_report_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.main(["--rates", "10", "--report", str(tmp_path / "none"), "--cores", "2"]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rates", "0"),
        ("--rates", "nan"),
        ("--rates", "inf"),
        ("--rates", "many"),
        ("--cores", "0"),
        ("--cores", "1.5"),
        ("--busy", "1"),
        ("--away", "0"),
        ("--memory-mb", "-1"),
        ("--cpu-us", "1e13"),
    ],
)
def test_a_figure_that_makes_no_sense_is_named(capsys: pytest.CaptureFixture[str], flag: str, value: str) -> None:
    words = {"--rates": "10", "--cores": "2", "--cpu-us": "50", flag: value}
    with pytest.raises(SystemExit) as ended:
        fleet.main([word for pair in words.items() for word in pair])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {flag}: expected " in said
    assert f"found '{value}'" in said


def test_the_tables_of_the_page_are_what_its_commands_print(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.findall(
        r"^(python -m loadtests\.fleet .*)$(?:\n.*?)*?```\n\n((?:\|.*\n)+)", SCALING.read_text(), re.MULTILINE
    )
    assert len(found) >= 3
    for command, table in found:
        assert fleet.main(shlex.split(command)[3:]) == 0
        assert capsys.readouterr().out == table, command
