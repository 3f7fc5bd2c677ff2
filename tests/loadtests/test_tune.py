"""Tuning with searches that nobody runs: every candidate carries what it is known to carry."""

import tomllib
from pathlib import Path

import pytest

import cli
from loadtests import tune
from loadtests.capacity import Trial, estimate
from loadtests.search import Found
from loadtests.server import CannotRun
from loadtests.tune import Candidate, Tuning, placements, proposal
from tests import toys


def found(rate: float) -> Found:
    """Return a search that has found a capacity."""
    rates = [rate * (1 + number / 100) for number in (-20, -8, -3, -1, 1, 3, 8, 20)]
    trials = [{"rate": one, "kept": one < rate, "cause": None if one < rate else "server"} for one in rates]
    return Found(trials, estimate([Trial(one, kept=one < rate) for one in rates]), "", [])


def carries(candidate: Candidate) -> float:
    """Return what a server of two cores carries: two instances are better than one, and company is worth a wait."""
    rate = 100.0 * min(2, candidate.instances) * (1.1 if candidate.threads > 1 else 1.0)
    rate *= 1.2 if candidate.queue_delay_seconds == 0.002 else 1.0
    return rate * (1.3 if candidate.batch_rows == 16 else 1.0)


def tuned(first: Candidate, *, has_manifest: bool = True, limit: float | None = 0.05) -> Tuning:
    tuning = Tuning()
    tune.tune(
        tuning,
        lambda candidate, _: found(carries(candidate)),
        first,
        cores=2,
        has_manifest=has_manifest,
        limit_seconds=limit,
    )
    return tuning


def test_each_thing_is_tried_beside_the_best_so_far() -> None:
    tuning = tuned(Candidate())
    assert tuning.best() == Candidate(2, 1, 0.002)
    assert {candidate.batch_rows for candidate in tuning.tried} == {None}
    assert len(tuning.tried[Candidate()]) == len(tuning.tried[Candidate(2, 1, 0.002)]) == 2  # once more, at the end


def test_batch_sizes_are_tried_where_no_manifest_says_them() -> None:
    assert tuned(Candidate(), has_manifest=False).best() == Candidate(2, 1, 0.002, 16)


def test_a_wait_that_a_strict_objective_has_no_room_for_is_not_tried() -> None:
    delays = {candidate.queue_delay_seconds for candidate in tuned(Candidate(), limit=0.004).tried}
    assert delays == {0.0, 0.001}


def test_the_proposal_keeps_what_else_is_configured_and_names_its_evidence() -> None:
    config = "instances = 1        # sessions\nqueue_rows = 256\nversions = { latest = 2 }\n[extra]\nx = 1\n"
    told = proposal(tuned(Candidate()), Candidate(), config, slo="p99<50ms", model="toy", where="a machine")
    assert told["changed"]
    read = tomllib.loads(told["config"])
    assert read == {
        "instances": 2, "queue_delay_seconds": 0.002, "queue_rows": 256, "versions": {"latest": 2},
        "extra": {"x": 1},
    }  # fmt: skip
    assert "instances = 2        # sessions" in told["config"]
    assert "# instances 1, threads 1, queue_delay_seconds 0: " in told["config"]


def test_what_is_not_better_beyond_the_intervals_is_not_proposed() -> None:
    tuning = Tuning({Candidate(): [found(100)], Candidate(2, 1): [found(102)]})
    told = proposal(tuning, Candidate(), "", slo="p99<50ms", model="toy", where="a machine")
    assert not told["changed"]
    assert "not better beyond the intervals" in told["config"]


def test_an_interrupted_tuning_says_so() -> None:
    tuning = Tuning({Candidate(): [found(100)], Candidate(2, 1): [found(200)]})
    told = proposal(tuning, Candidate(), "", slo="p99<50ms", model="toy", where="a machine", complete=False)
    assert told["changed"]
    assert told["told"][-1].startswith("interrupted, so not everything was tried; proposed: instances 2")


def test_nothing_is_proposed_where_nothing_keeps_the_objective() -> None:
    tuning = Tuning({Candidate(): [Found([{"rate": 1.0, "kept": False, "cause": "server"}], None, "", [])]})
    told = proposal(tuning, Candidate(), "", slo="p99<50ms", model="toy", where="a machine")
    assert not told["found"]


def test_instances_and_threads_fill_the_cores() -> None:
    assert placements(1) == [(1, 1)]
    assert placements(2) == [(1, 1), (2, 1), (1, 2)]
    assert set(placements(6)) == {(1, 1), (2, 1), (4, 1), (6, 1), (1, 6), (2, 3)}


def test_a_config_that_is_none_is_an_error() -> None:
    with pytest.raises(CannotRun, match=r"tune: config\.toml"):
        tune.first_of("instances = ", has_manifest=True)


def test_a_model_that_is_not_there_is_named_before_anything_is_tried(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "nobody", "--repository", str(tmp_path), "--slo", "p90<500ms"]
    assert cli.main(["loadtest", "--tune", *words]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "found 'nobody'" in said
    assert "instances" not in said


@pytest.mark.long
def test_a_real_model_is_tuned_on_this_machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    toys.publish(tmp_path / "models")
    words = ["--trial", "1", "--warm-up", "0.5", "--trials", "3", "--report", str(tmp_path / "report")]
    code = cli.main(
        ["loadtest", "--tune", "--model", "toy", "--repository", str(tmp_path / "models"), "--slo", "p90<500ms", *words]
    )
    assert code in (0, 1)  # on a machine that is busy with other things nothing may keep it
    tomllib.loads((tmp_path / "report" / "config.toml").read_text())
    assert "Proposed by `sameway loadtest --tune` for toy" in capfd.readouterr().out
    assert not list((tmp_path / "models" / "toy").glob("config.toml"))  # the repository stays as it was
