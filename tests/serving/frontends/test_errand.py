"""What an errand does with the pieces of its body; how it answers is seen from outside, by whoever speaks HTTP."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from serving.frontends.errand import Errand
from serving.frontends.head import Head
from serving.protocols.route import HttpRequest


class Lane:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.broken: list[object] = []

    def takes(self, _head: HttpRequest, *, length: int) -> bool:
        return length >= 0

    def begin(self, errand: Errand) -> None:
        assert errand.request is not None
        self.bodies.append(errand.request.body)

    def broken_off(self, _head: HttpRequest, error: object) -> None:
        self.broken.append(error)

    async def interrupt(self) -> None:
        raise AssertionError


def errand(lane: Lane) -> Errand:
    edge: Any = SimpleNamespace()  # Any: it is asked nothing here
    return Errand(edge, lane, Head(b"/", [], "/", {}), request=HttpRequest("POST", "/", {}, b"", 0.0), keep_alive=True)


@pytest.mark.parametrize("sizes", [[0], [5], [1] * 100, [2000, 1, 1, 2000, 3], [1, 5000, 1, 1], []])
def test_pieces_become_the_body(sizes: list[int]) -> None:
    lane = Lane()
    one = errand(lane)
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for piece in pieces:
        one.add(piece)
    one.begin(1.0)
    assert lane.bodies == [b"".join(pieces)]
    assert type(lane.bodies[0]) is bytes


def test_single_bytes_take_no_more_room_than_they_have_to() -> None:
    one = errand(Lane())
    for _ in range(100_000):
        one.add(b"x")
    assert len(one._chunks) == 2
    assert sum(sys.getsizeof(chunk) for chunk in one._chunks) < 200_000


def test_one_that_nobody_has_answered_is_counted_when_its_client_leaves() -> None:
    lane = Lane()
    one = errand(lane)
    one.add(b"half")
    one.leave()
    one.leave()
    assert lane.broken == [None]
    other = errand(lane)
    other.more_body = False
    other.leave()
    assert lane.broken == [None, None]
    other.begin(1.0)
    assert not lane.bodies, "nobody is there any more to get its answer"
