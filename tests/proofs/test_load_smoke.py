from proofs.load_smoke import prove
from proofs.verdict import table


def test_a_little_load_is_answered_rightly() -> None:
    verdicts = prove("fastapi", seconds=1)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
