from collections.abc import Mapping

import numpy as np
import pytest

from loadtests.benchmark.side import CannotRun, Exchange
from models.tensors import Array

EXPECTED = np.array([[0.25, 0.75]], np.float32)


def read(_: Mapping[str, str], body: bytes) -> Array:
    return np.frombuffer(body, np.float32).reshape(1, -1)


EXCHANGE = Exchange("/path", b"", read)


def test_the_right_answer_passes() -> None:
    EXCHANGE.check(200, {}, EXPECTED.tobytes(), EXPECTED)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, EXPECTED.tobytes(), "expected status 200, found 500"),
        (200, b"abc", "expected an answer with probabilities"),
        (200, EXPECTED[:, ::-1].tobytes(), r"expected \[0.25 0.75\]"),
        (200, EXPECTED[:, :1].tobytes(), "found"),
    ],
)
def test_another_answer_is_none_to_be_measured(status: int, body: bytes, words: str) -> None:
    with pytest.raises(CannotRun, match=words):
        EXCHANGE.check(status, {}, body, EXPECTED)
