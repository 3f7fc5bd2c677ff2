import signal

import pytest

from proofs import drain
from proofs.verdict import table


# Each kind of server once, and at a rate that a busy machine can keep: the rest is for `make drain`.
@pytest.mark.parametrize(("frontend", "workers"), [("flask", 1), ("fastapi", 2)])
def test_a_stop_under_load_fails_nobody(frontend: str, workers: int) -> None:
    verdicts = drain.prove(frontend, workers=workers, stops=1, rate=150.0)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_a_server_that_fails_somebody_is_found_out() -> None:
    # Killed, it answers nobody who was accepted.
    killed = drain.stop("fastapi", signal.SIGKILL, workers=1, rate=150.0)
    assert "accepted requests that failed" in {one.name for one in drain.judged([killed]) if not one.passed}
