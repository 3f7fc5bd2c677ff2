"""The same request gets the same answer, status, headers and body, over every table: from FastAPI and from Flask, and from
front ends that share an engine in a process of its own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conformance.cases import Case
from tests.conformance.conftest import FRONT_ENDS, Servers
from tests.conformance.raw import Answer, Connection, request
from tests.conformance.servers import Server
from tests.conformance.test_hostile import TABLES

#: What tells of the time at which a server answered, and of the very request.
_OF_THE_MOMENT = {"date", "server-timing", "x-request-id"}
#: Where a server tells what it has done so far.
_OF_THE_PAST = re.compile(r"/stats$|^/metrics$")


@pytest.fixture
def both(pytestconfig: pytest.Config, servers: Servers, repository: Path) -> Mapping[str, Server]:
    """A server of each front end."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("compares two servers")
    return {name: servers.get(name, "--repository", str(repository), "--frontend", name) for name in FRONT_ENDS}


@pytest.mark.parametrize("table", TABLES)
def test_both_front_ends_say_the_same(both: Mapping[str, Server], table: str) -> None:
    assert not (found := _differences(both, table)), found[:5]


@pytest.mark.parametrize("table", TABLES)
def test_front_ends_that_share_an_engine_say_what_one_with_its_own_says(
    both: Mapping[str, Server], servers: Servers, repository: Path, table: str
) -> None:
    flags = ("--repository", str(repository), "--frontends", "2")
    shared = servers.get("fastapi, 2 front ends", *flags, "--frontend", "fastapi")
    assert not (found := _differences({"own": both["fastapi"], "shared": shared}, table)), found[:5]


def _differences(servers: Mapping[str, Server], table: str) -> list[tuple[object, ...]]:
    """Return each case of a table to which two servers say other things, with what they say."""
    differences: list[tuple[object, ...]] = []
    connections = {name: Connection(server) for name, server in servers.items()}
    try:
        for case in TABLES[table]:
            for method in (case.method, "HEAD") if case.method == "GET" else (case.method,):
                said = [_said(connection, case, method) for connection in connections.values()]
                if said[0] != said[1]:
                    differences.append((case.name, method, *said))
    finally:
        for connection in connections.values():
            connection.close()
    return differences


def _said(connection: Connection, case: Case, method: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return what a server says to a case, without what cannot be the same."""
    connection.send(request(method, case.path, None if case.method == "GET" else case.body, case.headers))
    answer: Answer = connection.answer(head=method == "HEAD")
    of_the_past = _OF_THE_PAST.search(case.path)
    dropped = _OF_THE_MOMENT | ({"content-length"} if of_the_past else set())
    headers = {name: value for name, value in answer.headers.items() if name not in dropped}
    return answer.status, headers, b"" if of_the_past else answer.body
