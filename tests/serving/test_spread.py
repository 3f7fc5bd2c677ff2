import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from serving.counters import Counters
from serving.spread import Spread
from tests import toys
from tests.serving import certificates
from tests.serving.live import LiveServer, descriptors


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def processes(clock: Clock) -> tuple[Counters, list[Spread]]:
    """Three processes that run, and have no connections yet."""
    counters = Counters.shared(3)
    spreads = [Spread(counters, number, most=100, clock=clock) for number in range(3)]
    for number, spread in enumerate(spreads):
        counters.region(number).beat(clock.now)
        spread.say(0)
    return counters, spreads


def test_who_has_more_than_another_leaves_what_waits_to_him(processes: tuple[Counters, list[Spread]]) -> None:
    _, (one, two, _three) = processes
    assert one.takes(0)
    assert not one.takes(1)
    assert two.takes(0)
    assert not two.takes(1), "the third has none"


def test_all_take_turns(processes: tuple[Counters, list[Spread]]) -> None:
    _, spreads = processes
    has = [0, 0, 0]
    for turn in range(300):
        number = turn % 7 % 3
        for _ in range(5):
            if spreads[number].takes(has[number]):
                has[number] += 1
                spreads[number].say(has[number])
    assert max(has) - min(has) <= 1 + min(has) // 16


def test_what_nobody_else_takes_is_taken_after_a_moment_and_then_all_of_it(
    processes: tuple[Counters, list[Spread]], clock: Clock
) -> None:
    _, (one, *_) = processes
    assert not any(one.takes(1) for _ in range(40))
    assert all(one.takes(count) for count in range(1, 100))
    clock.now += 0.21
    assert not one.takes(100)


def test_patience_begins_anew_with_each_that_waits(processes: tuple[Counters, list[Spread]]) -> None:
    _, (one, *_) = processes
    for _ in range(3):
        assert not any(one.takes(1) for _ in range(40))
        one.none_waits()


@pytest.mark.parametrize("gone", ["silent", "stopped", "ended"])
def test_who_does_not_take_any_is_not_waited_for(processes: tuple[Counters, list[Spread]], clock: Clock, gone: str) -> None:
    counters, spreads = processes
    for number in (1, 2):
        if gone == "stopped":
            spreads[number].say(None)
        elif gone == "ended":
            counters.leave(number)
    if gone == "silent":
        clock.now += 0.6
    assert spreads[0].takes(50)


def test_a_process_that_takes_anothers_place_has_no_connections_of_his() -> None:
    counters = Counters.shared(2)
    counters.region(1)
    counters.say_connections(1, 40)
    assert counters.connections(1) == 40
    counters.leave(1)
    assert counters.connections(1) is None
    counters.region(1)
    assert counters.connections(1) is None, "it takes none yet"


def test_one_process_takes_everything() -> None:
    spread = Spread(Counters(), 0, most=1)
    assert all(spread.takes(count) for count in range(100))


@contextmanager
def connected(server: LiveServer, count: int) -> Iterator[None]:
    """Open so many connections at once."""
    with ExitStack() as opened:
        for _ in range(count):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", server.port))
        yield


def held(server: LiveServer, pid: int) -> int:
    """Return how many connections a process has."""
    links = descriptors(pid)
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    ours, established = f":{server.port:04X}", "01"
    return sum(line[1].endswith(ours) and line[3] == established and f"socket:[{line[9]}]" in links for line in lines)


@pytest.mark.parametrize("flags", [("--workers", "2"), ("--frontends", "2"), ("--workers", "2", "--tls")])
def test_connections_opened_at_once_are_spread_evenly(tmp_path: Path, flags: tuple[str, ...]) -> None:
    toys.publish(tmp_path / "models")
    if "--tls" in flags:
        certificate, key = certificates.write(tmp_path)
        flags = (*flags[:2], "--tls-certificate", str(certificate), "--tls-key", str(key))
    server = LiveServer(tmp_path / "models", "--drain-delay-seconds", "0", *flags)
    try:
        loaded = 1 if "--frontends" in flags else 2
        server.until(lambda: sum("event=listening" in line for line in server.log) == 2, "listening")
        server.until(lambda: sum("event=loaded" in line for line in server.log) == loaded, "loaded")
        started = (re.search(r"event=(?:worker|frontend)_started \S+ pid=(\d+)", line) for line in server.log)
        fronts = [int(one[1]) for one in started if one]
        assert len(fronts) == 2
        for count in (16, 64):
            has: list[int] = []

            def all_there(count: int = count, has: list[int] = has) -> bool:
                has[:] = [held(server, pid) for pid in fronts]
                return sum(has) == count

            with connected(server, count):
                server.until(all_there, "connected")
                assert max(has) - min(has) <= 2, has  # both may take the last few at once
            server.until(lambda: not any(held(server, pid) for pid in fronts), "left")
        assert server.stop() == 0
    finally:
        server.kill()
