"""The proof, in its short form: nothing lost, nothing swapped, nothing doubled, on both front ends.

And the proof of the prover: what is broken on purpose must be found out, or all the rest has shown nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger import ledger
from tests.ledger.broken import BROKEN, Loses, Poisons
from tests.ledger.client import Settings
from tests.ledger.command import main
from tests.ledger.judge import judge
from tests.ledger.mutants import FORGETTERS, MIXERS, Patch
from tests.ledger.plan import Kind, Request, neighbours, plan
from tests.ledger.process import Process, serving
from tests.ledger.prove import prove, record, uvloop_runner
from tests.ledger.publish import publish
from tests.ledger.report import Fault, Report
from tests.ledger.toyserver import ToyServer

REQUESTS, TOY_REQUESTS, SEED = 2_000, 1_000, 7
BAD_KINDS = (Kind.TEXT, Kind.SHORT, Kind.LONG, Kind.WIDE, Kind.RAGGED, Kind.DATATYPE)


@pytest.fixture(scope="module", params=["fastapi", "flask"])
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[Process]:
    with serving(repository, frontend=request.param) as process:
        yield process
    assert process.errors() == []


def test_nothing_is_lost_or_swapped(server: Process, tmp_path: Path) -> None:
    report = prove(server.host, server.port, file=tmp_path / "ledger", seed=3, requests=REQUESTS)
    assert report.passed, str(report)
    assert report.server != "not asked"
    assert report.rows > 2 * 0.8 * REQUESTS
    # All that makes the run hard was in it.
    assert report.kinds[Kind.LIAR] >= 0.04 * REQUESTS
    assert min(report.kinds[kind] for kind in (Kind.WIDE, Kind.DATATYPE, Kind.NAN)) >= 0.005 * REQUESTS
    # Of the 2 % that are to hang up, a fast server answers many before they do.
    assert report.ends["CUT"] >= 0.004 * REQUESTS


@pytest.mark.parametrize("kind", BAD_KINDS)
def test_a_bad_request_fails_alone(server: Process, tmp_path: Path, kind: Kind) -> None:
    requests = list(neighbours(11, kind, honest=40, bad=8))
    # As many connections as requests, and all of them open first: every request is sent at once.
    settings = Settings(server.host, server.port, seed=11, connections=len(requests))
    with uvloop_runner() as runner:
        runner.run(record(settings, requests, len(requests), tmp_path / "ledger"))
    report = judge(ledger.read(tmp_path / "ledger"))
    assert report.passed, str(report)
    assert (report.ends["OK"], report.ends["ERR"]) == (40, 8)


def test_the_command_runs_keeps_and_judges_a_ledger(server: Process, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    url = f"http://{server.host}:{server.port}"
    assert main(["--url", url, "--requests", "200", "--seed", "8", "--keep", str(kept)]) == 0
    assert main(["--judge", str(kept)]) == 0
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:-1]))
    assert main(["--judge", str(kept)]) == 1


def test_torchscript_too(tmp_path: Path) -> None:
    publish(tmp_path / "models", formats=("torchscript",))
    with serving(tmp_path / "models", frontend="fastapi") as process:
        report = prove(process.host, process.port, file=tmp_path / "ledger", seed=4, requests=500)
    assert report.passed, str(report)
    assert process.errors() == []


def run_on_toy(server: ToyServer, requests: Sequence[Request], file: Path, *, grace_seconds: float = 10.0) -> Report:
    """Run the ledger on a server in this very process."""

    async def run() -> None:
        async with server.serving() as (host, port):
            settings = Settings(host, port, seed=SEED, deadline_seconds=0.5, grace_seconds=grace_seconds)
            await record(settings, requests, len(requests), file)

    with uvloop_runner() as runner:
        runner.run(run())
    return judge(ledger.read(file))


def test_an_honest_toy_passes(tmp_path: Path) -> None:
    report = run_on_toy(ToyServer(), list(plan(SEED, TOY_REQUESTS)), tmp_path / "ledger")
    assert report.passed, str(report)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_server_is_caught(broken: type[ToyServer], tmp_path: Path) -> None:
    # What never comes is waited for in vain, so not for long.
    grace_seconds = 0.5 if broken is Loses else 10.0
    # Nobody hangs up: where the owner of a row has left, one that was given twice reads as one that was swapped.
    requests = [replace(request, cut=None) for request in plan(SEED, TOY_REQUESTS)]
    report = run_on_toy(broken(), requests, tmp_path / "ledger", grace_seconds=grace_seconds)
    assert BROKEN[broken] in report.faults, str(report)


@pytest.mark.parametrize("kind", [Kind.SHORT, Kind.LONG, Kind.WIDE, Kind.DATATYPE])
def test_a_server_that_fails_the_neighbours_is_caught(kind: Kind, tmp_path: Path) -> None:
    requests = list(neighbours(SEED, kind, honest=40, bad=8))
    assert run_on_toy(ToyServer(), requests, tmp_path / "honest").passed
    assert run_on_toy(Poisons(), requests, tmp_path / "poisons").faults[Fault.STATUS] > 8


def run_on_mutant(mutant: Patch, repository: Path, file: Path) -> Report:
    program = ("-m", "tests.ledger.mutants", mutant.__name__)
    with serving(repository, frontend="fastapi", program=program) as process:
        return prove(process.host, process.port, file=file, seed=5, requests=1_000)


@pytest.mark.parametrize("mutant", MIXERS, ids=lambda patch: patch.__name__)
def test_a_mutant_that_mixes_people_up_is_caught(mutant: Patch, repository: Path, tmp_path: Path) -> None:
    report = run_on_mutant(mutant, repository, tmp_path / "ledger")
    assert MIXERS[mutant] & set(report.faults), str(report)


@pytest.mark.parametrize("mutant", FORGETTERS, ids=lambda patch: patch.__name__)
def test_a_mutant_that_forgets_somebody_is_caught(mutant: Patch, unhurried_repository: Path, tmp_path: Path) -> None:
    report = run_on_mutant(mutant, unhurried_repository, tmp_path / "ledger")
    assert FORGETTERS[mutant] & set(report.faults), str(report)
