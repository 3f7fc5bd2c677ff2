from proofs import soak
from proofs.verdict import table


def test_a_soaked_server_answers_as_it_should() -> None:
    # Six seconds tell nothing of growth, whose bound is wide then; that hostile requests and swaps fail nobody they do tell.
    for what, verdicts in soak.prove(minutes=0.1, rate=50.0, swap_minutes=0.05).items():
        assert all(one.passed for one in verdicts), f"{what}\n{table(verdicts)}"
