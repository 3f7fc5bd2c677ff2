import pytest

from proofs import kill
from proofs.kill_engine import prove_engine
from proofs.verdict import table

#: Until a process has its successor: on a busy machine, importing everything takes its time.
PATIENCE = 30.0


def test_a_killed_worker_costs_only_its_own_clients_their_answer() -> None:
    verdicts = kill.prove_worker("fastapi", kills=1, pause_seconds=0.5, back_seconds=PATIENCE)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_a_killed_front_end_costs_only_its_own_clients_their_answer() -> None:
    verdicts = kill.prove_worker("flask", kills=1, pause_seconds=0.5, back_seconds=PATIENCE, role="frontend")
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_a_killed_engine_costs_a_moment_of_503_and_nobody_a_connection() -> None:
    verdicts = prove_engine("fastapi", kills=1, pause_seconds=0.5, back_seconds=PATIENCE)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_workers_whose_supervisor_is_killed_drain_and_end() -> None:
    verdicts = kill.prove_supervisor("flask")
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


@pytest.mark.parametrize(("frontend", "workers"), [("flask", 1), ("fastapi", 2)])
def test_a_backend_that_hangs_is_reported_and_its_process_replaced(frontend: str, workers: int) -> None:
    verdicts = kill.prove_hang(frontend, workers=workers, patience_seconds=PATIENCE)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
