"""`Retry-After`: read in all its forms, and never a reason to ask without a pause, or to wait beyond the end of a load."""

from pathlib import Path

import pytest

import cli
from loadtests.retry_after import SHORTEST_SECONDS, USUAL_SECONDS, seconds
from tests.loadtests.hostile import Say, body, hostile, told
from tests.loadtests.running import report

NOW = "Fri, 27 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, USUAL_SECONDS),
        ("2", 2.0),
        (" 2 ", 2.0),
        ("0", SHORTEST_SECONDS),
        ("999999999", 999_999_999.0),
        ("9" * 400, USUAL_SECONDS),
        ("-5", USUAL_SECONDS),
        ("1.5", USUAL_SECONDS),
        ("soon", USUAL_SECONDS),
        ("", USUAL_SECONDS),
        ("²", USUAL_SECONDS),
        ("\udcff", USUAL_SECONDS),
        ("Fri, 27 Nov 2026 12:00:03 GMT", 3.0),
        ("Fri, 27 Nov 2026 13:00:03 +0100", 3.0),
        ("Friday, 27-Nov-26 12:00:03 GMT", 3.0),
        ("Fri, 27 Nov 2026 11:00:00 GMT", SHORTEST_SECONDS),
        ("Fri, 99 Nov 2026 11:00:00 GMT", USUAL_SECONDS),
        ("Fri, 27 Nov 99999 11:00:00 GMT", USUAL_SECONDS),
    ],
)
def test_forms(asked: str | None, expected: float) -> None:
    assert seconds(asked, NOW) == expected


def test_a_date_without_the_servers_own_counts_from_now() -> None:
    assert seconds("Fri, 27 Nov 1998 12:00:00 GMT") == SHORTEST_SECONDS
    assert seconds("Fri, 27 Nov 2126 12:00:00 GMT") > 1e8


def refusing(*headers: str) -> Say:
    return body(b"later", *headers, status="429 Too Many Requests")


@pytest.mark.parametrize("header", ["0", *(pytest.param(one, marks=pytest.mark.long) for one in ("1000000", "-1"))])
def test_nobody_asks_without_a_pause_or_waits_beyond_the_end(header: str, tmp_path: Path) -> None:
    users, duration = 4, 2.0
    words = ["--users", str(users), "--duration", str(duration), "--warm-up", "0", "--honour-retry-after"]
    with hostile(well_behaved=65, infer=refusing(f"Retry-After: {header}")) as server:
        code = cli.main(["loadtest", server.url, "--model", "double", *words, "--report", str(tmp_path)])
        asked = server.asked["infer"]
    assert code == 1
    assert users <= asked <= users * (duration / SHORTEST_SECONDS + 1)
    (run,) = report(tmp_path)["runs"]
    assert {failure["kind"] for failure in run["failures"]} == {"refused"}
    assert run["seconds"] < duration + 1


def test_in_an_open_load_the_pause_is_part_of_the_latency(tmp_path: Path) -> None:
    says: list[Say] = [refusing("Retry-After: 1"), lambda talk: told(talk.right)(talk)]
    words = ["--rate", "4", "--arrivals", "constant", "--duration", "3", "--warm-up", "0", "--honour-retry-after"]
    with hostile(well_behaved=65, infer=says) as server:
        cli.main(["loadtest", server.url, "--model", "double", *words, "--report", str(tmp_path)])
    (run,) = report(tmp_path)["runs"]
    assert run["generator"]["told_to_wait"] > 0
    assert run["totals"]["max_ms"] >= 1000
