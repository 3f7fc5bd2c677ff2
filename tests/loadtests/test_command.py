"""`sameway loadtest` against real servers: a right one, some that misbehave, and none."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

import cli
from tests import toys
from tests.loadtests.faulty import faulty
from tests.serving import certificates
from tests.serving.live import ROOT, LiveServer, serving

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loadtest")
    toys.publish(root)
    toys.publish(root, "other", seed=5)
    return root


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[LiveServer]:
    with serving(repository) as server:
        yield server.ready()


def loadtest(url: str, *words: str, model: str = "toy") -> int:
    return cli.main(["loadtest", url, "--model", model, "--users", "4", "--duration", "1", "--warm-up", "0", *words])


def report(folder: Path) -> dict[str, Any]:  # Any: JSON
    return dict(json.loads((folder / "report.json").read_text()))


def failures(folder: Path) -> dict[str, int]:
    (run,) = report(folder)["runs"]
    return {failure["kind"]: failure["count"] for failure in run["failures"]}


def test_a_server_that_is_right_passes(server: LiveServer, repository: Path, tmp_path: Path, capfd: Capture) -> None:
    assert loadtest(server.url, "--repository", str(repository), "--report", str(tmp_path)) == 0
    out = capfd.readouterr().out
    assert "V2 JSON" in out
    assert "/predict" in out
    assert "answers were right" in out
    found = report(tmp_path)
    (run,) = found["runs"]
    assert found["target"]["models"]["toy"]["expected"] == "golden sample of the repository"
    assert run["totals"]["right"] == run["totals"]["requests"] > 0
    assert run["stages"]["compute"] > 0
    assert run["server"]["models"]["toy"]["info"][0]["format"] == "onnx"
    assert run["server"]["models"]["toy"]["batches"] > 0
    assert sum(run["server"]["models"]["toy"]["batch_rows"].values()) == run["server"]["models"]["toy"]["batches"]
    page = (tmp_path / "report.html").read_text()
    assert found["target"]["models"]["toy"]["digest"] in page
    assert "<script" not in page
    assert "://" not in page.replace(server.url, "")  # it fetches nothing
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("failures") == "0"


def test_an_open_load_keeps_its_rate_and_an_objective_that_is_missed_fails(
    server: LiveServer, tmp_path: Path, capfd: Capture
) -> None:
    slo = "p99<0.001ms,errors<0.1%"
    words = ["--rate", "100", "--payload", "binary", "--slo", slo, "--report", str(tmp_path)]
    assert cli.main(["loadtest", server.url, "--model", "toy", "--duration", "1", "--warm-up", "0", *words]) == 1
    out = capfd.readouterr().out
    assert "MISSED p99<0.001ms" in out
    assert "kept   errors<0.1%" in out
    (run,) = report(tmp_path)["runs"]
    assert 60 < run["totals"]["requests"] < 140  # four standard deviations
    assert report(tmp_path)["target"]["models"]["toy"]["expected"].startswith("the server itself")
    assert run["generator"]["connections"] >= run["generator"]["connections_at_first"] > 0
    cases = {case.get("name"): len(case) for case in Xml.parse(tmp_path / "junit.xml").iter("testcase")}
    assert cases == {"answers": 0, "p99<0.001ms": 1, "errors<0.1%": 0}


def test_models_are_mixed_by_weight(server: LiveServer, repository: Path, tmp_path: Path) -> None:
    words = ["--payload", "binary", "--repository", str(repository), "--report", str(tmp_path)]
    assert loadtest(server.url, *words, model="toy=3,other=1") == 0
    (run,) = report(tmp_path)["runs"]
    counts = {name: told["requests"] for name, told in run["traffic"].items()}
    assert set(counts) == {"toy V2 binary", "other V2 binary"}
    assert 2 < counts["toy V2 binary"] / counts["other V2 binary"] < 4.5


@pytest.mark.long
def test_two_servers_take_turns_and_a_multiple_of_what_one_carries_is_found(server: LiveServer, capfd: Capture) -> None:
    with faulty("right") as rival:
        words = ["--against", rival.url, "--rounds", "2", "--duration", "0.5", "--warm-up", "0", "--users", "2"]
        assert cli.main(["loadtest", rival.url.replace("127.0.0.1", "localhost"), "--model", "double", *words]) == 0
    assert f"{rival.url} ÷ http://localhost" in capfd.readouterr().out
    words = ["--rate", "0.1x", "--duration", "1", "--payload", "json"]
    assert cli.main(["loadtest", server.url, "--model", "toy", *words]) == 0
    assert "arrivals/s (Poisson)" in capfd.readouterr().out


@pytest.mark.long
def test_a_capacity_is_found(tmp_path: Path, capfd: Capture) -> None:
    with faulty("right", service_seconds=0.002) as server:
        words = ["--find-capacity", "--slo", "p90<200ms", "--trial", "1", "--trials", "4", "--report", str(tmp_path)]
        code = cli.main(["loadtest", server.url, "--model", "double", "--warm-up", "0.2", "--rate", "200", *words])
    found = report(tmp_path)
    # On a machine that is busy with other things it may be the generator that has no time left.
    assert (code, found["capacity"]["valid"]) in ((0, True), (1, False), (3, False))
    assert len(found["capacity"]["trials"]) >= 3
    assert "capacity with p90<200ms" in capfd.readouterr().out
    assert "Capacity" in (tmp_path / "report.html").read_text()


@pytest.mark.long
def test_several_processes_and_a_comparison_with_a_report(server: LiveServer, tmp_path: Path, capfd: Capture) -> None:
    assert loadtest(server.url, "--processes", "2", "--report", str(tmp_path)) == 0
    assert report(tmp_path)["runs"][0]["generator"]["processes"] == 2
    capfd.readouterr()
    assert loadtest(server.url, "--compare", str(tmp_path)) == 0
    out = capfd.readouterr().out
    assert "not asked the same: processes" in out
    assert "p50_ms: " in out


@pytest.mark.long
def test_variants_take_turns(server: LiveServer, capfd: Capture) -> None:
    words = ["--scenario", "formats", "--rounds", "2", "--users", "2", "--duration", "0.5", "--warm-up", "0"]
    assert cli.main(["loadtest", server.url, "--model", "toy", *words]) == 0
    out = capfd.readouterr().out
    assert out.count("V2 JSON: 2 users") == out.count("V2 binary: 2 users") == 2
    assert "V2 binary ÷ V2 JSON, p50_ms: × " in out


def test_two_answers_in_a_thousand_that_are_swapped_are_caught(tmp_path: Path, capfd: Capture) -> None:
    with faulty("swap") as server:
        assert loadtest(server.url, "--duration", "2", "--report", str(tmp_path), model="double") == 1
    found = failures(tmp_path)
    assert set(found) == {"swapped"}
    assert found["swapped"] % 2 == 0  # both of a pair
    assert "answer to another sample" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("behaviour", "words", "kind"),
    [
        pytest.param("wrong", [], "wrong", marks=pytest.mark.long),
        ("words", [], "malformed"),
        ("slow", ["--timeout", "0.2"], "timeout"),
        pytest.param("dribble", ["--timeout", "0.3"], "timeout", marks=pytest.mark.long),
        ("refuse", [], "refused"),
    ],
)
def test_each_fault_is_a_failure_of_its_own_kind(behaviour: str, words: list[str], kind: str, tmp_path: Path) -> None:
    with faulty(behaviour) as server:
        assert loadtest(server.url, *words, "--report", str(tmp_path), model="double") == 1
    assert set(failures(tmp_path)) == {kind}


def test_retry_after_is_honoured_when_asked(tmp_path: Path) -> None:
    with faulty("refuse") as server:
        words = ["--honour-retry-after", "--duration", "1.5", "--slo", "refused<100%", "--report", str(tmp_path)]
        assert loadtest(server.url, *words, model="double") == 0
    (run,) = report(tmp_path)["runs"]
    assert run["generator"]["told_to_wait"] > 0
    assert run["totals"]["max_ms"] > 1000  # the wait is part of what the client waited for its answer


def test_a_server_that_dies_ends_the_load_and_is_reported(tmp_path: Path, capfd: Capture) -> None:
    with faulty("dead") as server:
        started = time.monotonic()
        assert loadtest(server.url, "--duration", "60", "--report", str(tmp_path), model="double") == 1
        assert time.monotonic() - started < 40
    assert "the server is gone" in capfd.readouterr().out
    assert set(failures(tmp_path)) == {"lost"}
    (case,) = Xml.parse(tmp_path / "junit.xml").iter("testcase")
    assert "the server is gone" in str(case[0].get("message"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:abc", "ftp://127.0.0.1", "127.0.0.1:8000"])
def test_no_server_is_one_line_and_exit_code_2(url: str, tmp_path: Path, capfd: Capture) -> None:
    assert loadtest(url, "--report", str(tmp_path)) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("errors") == "1"


@pytest.mark.parametrize("words", [["--users", "0"], ["--slo", "p99"], ["--scenario", "none"], ["--find-capacity"]])
def test_a_test_that_cannot_run_leaves_no_earlier_report(words: list[str], tmp_path: Path, capfd: Capture) -> None:
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text("of yesterday")
    assert cli.main(["loadtest", "http://127.0.0.1:1", *words, "--report", str(tmp_path)]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"earlier-report.json", "earlier-report.html", "junit.xml"}
    assert capfd.readouterr().err.count("\n") == 1


def test_a_server_of_something_else_is_named(capfd: Capture) -> None:
    with faulty("right") as server:
        assert loadtest(server.url, model="other") == 2
    assert "model 'other': expected status 200, found 404" in capfd.readouterr().err


def test_a_repository_without_the_model_is_one_line(server: LiveServer, tmp_path: Path, capfd: Capture) -> None:
    for words in (["--model", "a b/c"], ["--repository", str(tmp_path)]):
        assert loadtest(server.url, *words) == 2
        assert capfd.readouterr().err.count("\n") == 1


@contextlib.contextmanager
def locust(server: LiveServer, *words: str) -> Iterator["subprocess.CompletedProcess[str]"]:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--host", server.url, *words]
    yield subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [pytest.param(["--users", "2"], marks=pytest.mark.long), ["--rate", "50"]])
def test_the_file_runs_with_locust_alone(server: LiveServer, words: list[str]) -> None:
    with locust(server, "--model", "toy", "--run-time", "1s", "--only-summary", *words) as finished:
        assert finished.returncode == 0, finished.stderr
        assert "V2 JSON" in finished.stdout + finished.stderr


def test_locust_alone_says_what_is_wrong(server: LiveServer) -> None:
    with locust(server, "--model", "nobody", "--run-time", "1s") as finished:
        assert finished.returncode == 2
        assert "model 'nobody'" in finished.stderr


def test_a_server_with_a_certificate_and_a_key(repository: Path, tmp_path: Path, capfd: Capture) -> None:
    certificate, private = certificates.write(tmp_path)
    keys, key = tmp_path / "keys.toml", tmp_path / "key"
    assert cli.main(["key", "tester", "--scopes", "predict,observe", "--keys", str(keys)]) == 0
    key.write_text(capfd.readouterr().out.strip().splitlines()[-1])
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(private), "--keys", str(keys)]
    server = LiveServer(repository, "--drain-delay-seconds", "0", *flags)
    try:
        server.until(lambda: any("event=loaded" in line for line in server.log), "loaded")
        url = server.url.replace("http:", "https:")
        assert loadtest(url, "--ca", str(certificate), "--key-file", str(key), "--payload", "binary") == 0
        assert "answers were right" in capfd.readouterr().out
        assert loadtest(url, "--key-file", str(key)) == 2
        assert "expected a certificate that is trusted here (--ca FILE)" in capfd.readouterr().err
        assert loadtest(url, "--ca", str(certificate)) == 2
        assert "expected status 200, found 401" in capfd.readouterr().err
    finally:
        server.kill()
