import pytest

from proofs.cancel import prove
from proofs.overload import FRONTENDS
from proofs.verdict import table


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_what_nobody_waits_for_is_not_computed(frontend: str) -> None:
    verdicts = prove(frontend, rounds=2)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
