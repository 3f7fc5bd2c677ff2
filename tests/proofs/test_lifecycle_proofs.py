"""The proofs of lifecycle, shutdown and failure in their quick form: the same programs, fewer rounds, lower rates.

What is looser: rates, as the machine does other things meanwhile; memory in the swap and the soak, whose runs are too short
to tell a leak from what an allocator holds; and the time until a killed worker is replaced, as the new one has to import
everything on a busy machine. Whatever is a count of lost, wrong or unexplained requests stays 0.
"""

import signal
from collections.abc import Sequence

import pytest

from proofs import agreement, drain, kill, rolling, soak, swap
from proofs.verdict import Verdict, table

FRONT_ENDS = ("fastapi", "flask")


def check(verdicts: Sequence[Verdict]) -> None:
    assert verdicts
    assert all(verdict.passed for verdict in verdicts), "\n" + table(verdicts)


# Each kind of server once: all four pairs of front end and workers are for `make`.
@pytest.mark.parametrize(("frontend", "workers"), [("fastapi", 1), ("flask", 2)])
def test_swaps_under_load_fail_nobody(frontend: str, workers: int) -> None:
    # Ten versions spoiled in each of the ways, between six good ones.
    bounds = swap.Bounds(memory=1.5, warm_up=2, traffic_seconds=0.2, pause_seconds=0.05)
    check(swap.prove(frontend, workers=workers, swaps=6, spoiled=10, rate=100.0, bounds=bounds))


@pytest.mark.parametrize(("frontend", "workers"), [("flask", 1), ("fastapi", 2)])
def test_a_stop_under_load_fails_nobody(frontend: str, workers: int) -> None:
    check(drain.prove(frontend, workers=workers, stops=1, rate=150.0))


def test_a_killed_worker_costs_only_its_own_clients_their_answer() -> None:
    check(kill.prove_worker("fastapi", kills=1, pause_seconds=0.5, back_seconds=30.0))


def test_workers_whose_supervisor_is_killed_drain_and_end() -> None:
    check(kill.prove_supervisor("flask"))


@pytest.mark.parametrize(("frontend", "workers"), [("flask", 1), ("fastapi", 2)])
def test_a_backend_that_hangs_is_reported_and_its_process_replaced(frontend: str, workers: int) -> None:
    check(kill.prove_hang(frontend, workers=workers, patience_seconds=30.0))


def test_a_soaked_server_does_not_grow() -> None:
    for verdicts in soak.prove(minutes=0.1, rate=50.0, swap_minutes=0.05).values():
        check(verdicts)


@pytest.mark.skipif(rolling.nginx() is None, reason="nginx is not installed")
def test_a_rolling_restart_behind_nginx_fails_nobody() -> None:
    program = rolling.nginx()
    assert program is not None
    check(rolling.prove(program, restarts=1))


@pytest.mark.parametrize(("frontend", "workers"), [("fastapi", 2), ("flask", 1)])
def test_the_ledger_the_metrics_and_the_statistics_agree(frontend: str, workers: int) -> None:
    check(agreement.prove(frontend, workers=workers, requests=2_000))


def test_a_stop_that_loses_somebody_is_found() -> None:
    """The prover, proved: without a drain, a server that dies under load has to be found guilty."""
    killed = drain.stop("fastapi", signal.SIGKILL, workers=1, rate=150.0)
    broken = {verdict.name for verdict in drain.judged([killed]) if not verdict.passed}
    assert "accepted requests that failed" in broken
