"""The end of a listening socket: who is connected by then is answered, and nobody is let in just before it closes."""

import contextlib
import errno
import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.counters import Counters
from serving.frontends import doorstep
from serving.spread import Spread

#: Descriptors that this process may have, which are numbered beyond what select() can take.
MANY = 4096


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as line:
        yield line


def _address(listener: socket.socket) -> tuple[str, int]:
    return ("::1" if listener.family == socket.AF_INET6 else "127.0.0.1"), listener.getsockname()[1]


def test_all_who_wait_are_taken_and_answered(listener: socket.socket) -> None:
    doorstep.open_to_all(listener)
    early = [socket.create_connection(_address(listener)) for _ in range(50)]
    taken = doorstep.taken(listener, last=True)
    for connection in taken:
        connection.sendall(b"answer")
    assert [client.recv(6) for client in early] == [b"answer"] * 50
    for connection in (*taken, *early):
        connection.close()


def test_a_server_of_more_than_a_thousand_descriptors_takes_its_clients_too(listener: socket.socket) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as held:
        if soft < MANY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (MANY, hard))
            held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            held.enter_context(Path(os.devnull).open())
        doorstep.open_to_all(listener)
        early = held.enter_context(socket.create_connection(_address(listener)))
        (connection,) = doorstep.taken(listener, last=True)
        with connection:
            connection.sendall(b"answer")
        assert early.recv(6) == b"answer"


def test_who_comes_as_it_closes_is_answered_or_refused_and_never_reset(listener: socket.socket) -> None:
    """A thousand clients while it closes, which it does slowly: each is taken, or was never let in."""
    doorstep.open_to_all(listener)
    address, began = _address(listener), threading.Event()
    connected: list[socket.socket] = []

    def come() -> None:
        while True:
            client = socket.socket(listener.family)
            client.settimeout(5)
            try:
                client.connect(address)
            except (ConnectionRefusedError, TimeoutError):
                client.close()
                return
            connected.append(client)
            began.set()

    clients = [threading.Thread(target=come) for _ in range(4)]
    for client in clients:
        client.start()
    assert began.wait(5)
    taken = doorstep.taken(listener, last=True)
    for client in clients:
        client.join()
    for connection in taken:
        connection.setblocking(True)
        with connection:
            connection.sendall(b"answer")
    answers = []
    for one in connected:
        with one:
            answers.append(one.recv(6))
    assert set(answers) == {b"answer"}


def test_between_the_last_place_and_the_closing_nobody_is_let_in(listener: socket.socket) -> None:
    listener.setblocking(False)
    listener.listen(0)
    assert doorstep._take_the_last_place(listener, [])
    address = _address(listener)
    with socket.socket(listener.family) as late:
        late.setblocking(False)
        late.connect_ex(address)
        answered = select.poll()
        answered.register(late, select.POLLOUT)
        assert not answered.poll(200), "the kernel answers nothing"
        listener.close()
        assert answered.poll(10_000)
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_as_long_as_others_take_connections_what_waits_is_theirs(listener: socket.socket) -> None:
    with socket.create_connection(_address(listener)) as early:
        assert doorstep.taken(listener.dup(), last=False) == []
        early.sendall(b"ask")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(3) == b"ask"


def test_a_process_that_listens_after_another_one_opens_what_that_has_shut(listener: socket.socket) -> None:
    assert doorstep.taken(listener.dup(), last=True) == []
    doorstep.open_to_all(listener)
    with socket.create_connection(_address(listener), timeout=5):
        pass


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
