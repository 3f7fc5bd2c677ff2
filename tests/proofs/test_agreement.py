import pytest

from proofs import agreement
from proofs.verdict import table


@pytest.mark.parametrize(("frontend", "workers"), [("fastapi", 2), ("flask", 1)])
def test_the_ledger_the_metrics_and_the_statistics_agree(frontend: str, workers: int) -> None:
    verdicts = agreement.prove(frontend, workers=workers, requests=2_000)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
