from itertools import count

import pytest

from proofs import swap, telling
from proofs.load import Outcome
from proofs.verdict import table

#: Too short a run to tell a leak from what an allocator holds; and the machine does other things meanwhile.
BOUNDS = swap.Bounds(memory=1.5, warm_up=2, traffic_seconds=0.2, pause_seconds=0.05)


# Each kind of server once: all four pairs of front end and workers are for `make swap`.
@pytest.mark.parametrize(("frontend", "workers"), [("fastapi", 1), ("flask", 2)])
def test_swaps_under_load_fail_nobody(frontend: str, workers: int) -> None:
    # One version spoiled in each of the ways, between six good ones.
    verdicts = swap.prove(frontend, workers=workers, swaps=6, spoiled=10, rate=100.0, bounds=BOUNDS)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def answered(version: int, sent: float, ended: float, digest: str = "a" * 64) -> Outcome:
    named = f"{telling.MODEL}/{version} sha256:{digest}"
    return Outcome("", sent, ended, 200, right=True, version=named, sent=sent)


def test_an_answer_may_come_from_a_version_that_was_in_service_while_its_request_was() -> None:
    digests = dict(zip((1, 2), ("a" * 64, "b" * 64), strict=True))
    service = swap._Service(begins={1: 0.0, 2: 10.0}, ends={1: 11.0}, digests=digests)
    assert service.covers(answered(1, 5, 6))
    assert service.covers(answered(1, 10.9, 12))
    assert service.covers(answered(2, 9, 10.1, "b" * 64))
    assert service.covers(answered(2, 20, 21, "b" * 64))
    assert not service.covers(answered(1, 11.1, 12)), "it was gone"
    assert not service.covers(answered(2, 8, 9.9, "b" * 64)), "it was not there yet"
    assert not service.covers(answered(2, 20, 21, "a" * 64)), "another digest"
    assert not service.covers(answered(3, 20, 21)), "never loaded"


def test_a_right_answer_of_another_version_is_wrong() -> None:
    requests = telling.requests("test", images=False)
    request = next(request for _, request in zip(count(), requests, strict=False) if request.right_of is not None)
    assert request.right_of is not None
    body = b'{"model_version":"3","outputs":[{"name":"probabilities","data":[%f,0.0]},{"name":"class","data":[0]}]}'
    header = f"{telling.MODEL}/3 sha256:{'a' * 64}"
    levels = [level for level in range(256) if request.judge(body % telling.probability(level, 3), header)]
    assert len(levels) == 1, "the level that was sent"
    right = body % telling.probability(levels[0], 3)
    assert not request.judge(right, header.replace("/3", "/4")), "the header names another version"
    assert not request.judge(body % telling.probability(levels[0], 4), header), "another version computed it"
