"""The end of a listening socket: who is connected by then is answered, and nobody is let in just before it closes."""

import asyncio
import errno
import select
import socket
from collections.abc import Iterator

import pytest

from serving.counters import Counters
from serving.frontends import doorstep
from serving.spread import Spread


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as line:
        yield line


def _connects(listener: socket.socket) -> bool:
    with socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect(listener.getsockname())
        except TimeoutError:
            return False
        return True


def test_a_shut_listener_lets_nobody_in_and_keeps_those_who_wait(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as early:
        asyncio.run(doorstep.shut([listener]))
        assert not _connects(listener)
        early.sendall(b"ask")
        (waited,) = doorstep.taken(listener)
        with waited:
            waited.setblocking(True)
            assert waited.recv(3) == b"ask", "only what begins a connection is dropped"
            waited.sendall(b"answer")
            assert early.recv(6) == b"answer"


def test_a_process_that_listens_after_another_one_opens_what_that_has_shut(listener: socket.socket) -> None:
    doorstep.open_to_all(listener)
    asyncio.run(doorstep.shut([listener]))
    assert not _connects(listener)
    doorstep.open_to_all(listener)
    assert _connects(listener)


def test_who_is_turned_away_is_refused_once_the_listener_is_closed(listener: socket.socket) -> None:
    asyncio.run(doorstep.shut([listener]))
    address = listener.getsockname()
    with socket.socket() as late:
        late.setblocking(False)
        late.connect_ex(address)
        assert doorstep.taken(listener) == []
        assert select.select([], [late], [], 10)[1] == [late]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_only_the_last_process_of_several_shuts_the_listener() -> None:
    counters = Counters(2)
    spreads = [Spread(counters, number, most=10) for number in range(2)]
    for number, spread in enumerate(spreads):
        counters.region(number)
        spread.say(3)
    assert not spreads[0].nobody_takes()
    spreads[0].say(None)
    assert not spreads[0].nobody_takes()
    spreads[1].say(None)
    assert spreads[0].nobody_takes()
    assert spreads[1].nobody_takes()
