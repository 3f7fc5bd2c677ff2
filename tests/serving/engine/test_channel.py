import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from serving import wire
from serving.engine.channel import Channel
from serving.wire import Frame, WireError
from tests.serving.remotes import Loop
from tests.serving.sessions import PATIENCE


class End:
    """One end, on a loop of its own; it keeps what it hears."""

    def __init__(self, end: socket.socket) -> None:
        self.thread = Loop()
        self.heard: list[Frame] = []
        self.ended: list[WireError | None] = []
        self.channel = self.thread.do(
            lambda: Channel(end, self.thread.loop, on_frame=self.heard.append, on_end=self.ended.append)
        )

    def until(self, count: int) -> list[Frame]:
        end = time.monotonic() + PATIENCE
        while len(self.heard) < count:
            assert time.monotonic() < end, len(self.heard)
            time.sleep(0.005)
        return self.heard

    def until_ended(self) -> WireError | None:
        end = time.monotonic() + PATIENCE
        while not self.ended:
            assert time.monotonic() < end
            time.sleep(0.005)
        return self.ended[0]

    def close(self) -> None:
        self.thread.do(self.channel.close)
        self.thread.stop()


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    both = [End(one) for one in socket.socketpair()]
    yield both[0], both[1]
    for one in both:
        one.close()


def test_frames_of_many_threads_arrive_whole_and_those_of_each_in_their_order(ends: tuple[End, End]) -> None:
    ours, theirs = ends

    def send(sender: int) -> None:
        for number in range(200):
            described, buffers = wire.describe({"x": np.full(1 + number * 40, sender, np.int64)})
            ours.channel.send(wire.frame(sender, number, described, buffers))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    heard = theirs.until(800)
    for thread in threads:
        thread.join()
    for sender in range(4):
        assert [number for kind, number, _, _ in heard if kind == sender] == list(range(200))
    for kind, number, head, data in heard:
        assert wire.tensors_of(head, data)["x"].tolist() == [kind] * (1 + number * 40)


def test_what_the_kernel_does_not_take_waits_and_nobody_waits_for_it(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(PATIENCE)

    theirs.thread.loop.call_soon_threadsafe(hold)
    assert held.wait(PATIENCE)
    large = np.arange(4_000_000, dtype=np.float32)
    described, buffers = wire.describe({"x": large})
    for number in range(3):
        ours.channel.send(wire.frame(1, number, described, buffers))
    assert ours.thread.do(lambda: True), "the loop is free"
    go.set()
    heard = theirs.until(3)
    assert [number for _, number, _, _ in heard] == [0, 1, 2]
    for _, _, head, data in heard:
        np.testing.assert_array_equal(wire.tensors_of(head, data)["x"], large)


def test_what_was_said_before_an_end_is_heard(ends: tuple[End, End]) -> None:
    ours, theirs = ends

    def last_words() -> None:
        ours.channel.send(wire.frame(1, 7, None))
        ours.channel.finish(PATIENCE)
        ours.channel.close()

    ours.thread.do(last_words)
    assert theirs.until_ended() is None
    assert [number for _, number, _, _ in theirs.heard] == [7]
    theirs.channel.send(wire.frame(1, 8, None))
    assert theirs.thread.do(lambda: True), "who is gone is not an error"
    assert ours.ended == [], "who closes knows it"


def test_what_is_no_frame_ends_it() -> None:
    ours, theirs = socket.socketpair()
    end = End(theirs)
    with ours:
        ours.sendall(b"GET / HTTP/1.1\r\nhost: somebody\r\n\r\n")
        assert isinstance(end.until_ended(), WireError)
        assert ours.recv(1) == b""
    end.close()


def test_finishing_ends_in_time_where_nobody_reads() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.new_event_loop()
    channel = Channel(ours, loop, on_frame=lambda _: None, on_end=lambda _: None)
    described, buffers = wire.describe({"x": np.zeros(10_000_000)})
    channel.send(wire.frame(1, 1, described, buffers))
    began = time.monotonic()
    channel.finish(0.05)
    assert 0.04 < time.monotonic() - began < PATIENCE / 2
    channel.close()
    theirs.close()
    loop.close()
