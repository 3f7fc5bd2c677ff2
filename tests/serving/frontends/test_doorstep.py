"""The end of a listening socket: who is connected by then is answered, and nobody is let in just before it closes."""

import contextlib
import errno
import os
import resource
import select
import socket
import threading
import time
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


def _shut(listener: socket.socket) -> list[socket.socket]:
    """Shut it as a server does, and return whom it has let in."""
    connections: list[socket.socket] = []
    until = time.monotonic() + doorstep.LONGEST_SECONDS
    while True:
        more, closed = doorstep.shut(listener, last=True, whoever_comes=time.monotonic() > until)
        connections += more
        if closed:
            return connections
        time.sleep(0.01)


def test_all_who_wait_are_taken_and_answered(listener: socket.socket) -> None:
    doorstep.open_to_all(listener)
    early = [socket.create_connection(_address(listener)) for _ in range(50)]
    taken = _shut(listener)
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
        (connection,) = _shut(listener)
        with connection:
            connection.sendall(b"answer")
        assert early.recv(6) == b"answer"


def test_who_comes_as_it_closes_is_answered_or_refused_and_never_reset(listener: socket.socket) -> None:
    """Clients that come as fast as they can while it closes: each is taken, or was never let in."""
    doorstep.open_to_all(listener)
    address, began = _address(listener), threading.Event()
    connected: list[socket.socket] = []

    def come() -> None:
        while True:
            client = socket.socket(listener.family)
            client.settimeout(5)
            try:
                client.connect(address)
                client.sendall(b"ask")  # as clients do; so it is soon sent again where the kernel had no place for it
            except (ConnectionRefusedError, TimeoutError):
                client.close()
                return
            connected.append(client)
            began.set()

    clients = [threading.Thread(target=come) for _ in range(4)]
    for client in clients:
        client.start()
    assert began.wait(5)
    taken = _shut(listener)
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


def test_it_stays_open_as_long_as_a_client_is_half_in_and_not_for_ever(listener: socket.socket) -> None:
    """The kernel takes a client for half in here until he says something; he himself does not know of it."""
    doorstep.open_to_all(listener)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
    address = _address(listener)
    with socket.create_connection(address, 10) as speaks, socket.create_connection(address, 10) as silent:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        assert doorstep.shut(listener, last=True) == ([], False)
        speaks.sendall(b"ask")
        (connection,), closed = doorstep.shut(listener, last=True)
        assert not closed, "the other one is still to come"
        with connection:
            connection.setblocking(True)
            assert connection.recv(3) == b"ask"
        with socket.create_connection(address, 10):
            (another,), closed = doorstep.shut(listener, last=True)
            another.close()
            assert not closed, "meanwhile it is open to all"
        assert doorstep.shut(listener, last=True, whoever_comes=True) == ([], True)
        silent.sendall(b"ask")
        with pytest.raises(ConnectionResetError):
            silent.recv(1)


def test_where_we_cannot_reach_ourselves_it_is_closed_without_that(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no port is left to connect from, which a kernel says at once."""
    monkeypatch.setattr(doorstep, "_way_to", lambda _: ("255.255.255.255", 9))
    doorstep.open_to_all(listener)
    with socket.create_connection(_address(listener)):
        (connection,), closed = doorstep.shut(listener, last=True)
        connection.close()
        assert closed


def test_between_the_last_place_and_the_closing_nobody_is_let_in(listener: socket.socket) -> None:
    listener.setblocking(False)
    assert doorstep._take_all_places(listener, [])
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
        assert doorstep.shut(listener.dup(), last=False) == ([], True)
        early.sendall(b"ask")
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(3) == b"ask"


def test_a_process_that_listens_after_another_one_opens_what_that_has_shut(listener: socket.socket) -> None:
    assert doorstep.shut(listener.dup(), last=True) == ([], True)
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
