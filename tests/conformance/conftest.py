"""Whom the suite asks: a server per front end that it starts itself or, with --url, one that is there.

    pytest tests/conformance
    pytest tests/conformance --url http://127.0.0.1:8000

Tests of models ask the models of zoo.py, and skip themselves where a server under --url does not serve them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.conformance import zoo
from tests.conformance.raw import ask
from tests.conformance.servers import SERVE, Process, Server, sameway

FRONT_ENDS = ("fastapi", "flask")

#: What no client may bring a server to say: that it failed, or a line of log for each of its requests.
_UNEXPECTED = re.compile(r"Traceback|internal_error|WARNING|ERROR(?!.*event=(re)?load_failed)")


class Servers:
    """Servers by name, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Process, Server]] = {}
        #: Repositories of servers that have one of their own.
        self.notes: dict[str, Path] = {}

    def get(self, name: str, *arguments: str, program: Sequence[str] = SERVE) -> Server:
        """Return the server of that name, started with these arguments if it is not there yet."""
        if name not in self._running:
            process = sameway(*arguments, program=program)
            self._running[name] = process, process.wait()
        return self._running[name][1]

    def lowered(self, name: str, front_end: str, repository: Path, limits: Mapping[str, float]) -> Server:
        """Return a server with limits of its own."""
        arguments = ["--repository", str(repository), "--frontend", front_end, "--limits", json.dumps(limits)]
        return self.get(f"{name}, {front_end}", *arguments, program=("-m", "tests.conformance.lowered"))

    def stop(self) -> Iterator[tuple[str, int, list[str]]]:
        """Stop them all, and yield of each its name, its exit status and its log."""
        for name, (process, _) in self._running.items():
            yield name, process.stop(), process.log


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--url", help="the server that tests/conformance asks, instead of servers of its own")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "front_end" in metafunc.fixturenames:
        metafunc.parametrize("front_end", ["url"] if _url(metafunc.config) else FRONT_ENDS)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the models of the suite. Do not write to it: others read it too."""
    root = tmp_path_factory.mktemp("zoo")
    zoo.publish(root)
    return root


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Every server that the tests have started; at the end each has stopped cleanly and had no fault of its own."""
    started = Servers()
    yield started
    problems = []
    for name, status, log in started.stop():
        if status != 0:
            problems.append(f"{name}: exit status {status}")
        if any(_UNEXPECTED.search(line) for line in log):
            problems.append("\n".join([f"{name}:", *log]))
    assert not problems, "\n".join(problems)


@pytest.fixture
def server(request: pytest.FixtureRequest, front_end: str, servers: Servers) -> Server:
    """The server to ask: anything that speaks the protocol."""
    url = _url(request.config)
    if url is not None:
        return Server(url)
    return servers.get(front_end, "--repository", str(request.getfixturevalue("repository")), "--frontend", front_end)


@pytest.fixture(scope="session")
def _serves_zoo() -> dict[str, bool]:
    return {}


@pytest.fixture
def zoo_server(server: Server, _serves_zoo: dict[str, bool]) -> Server:
    """The server to ask, which serves the models of the suite."""
    if server.pid is None:
        if server.url not in _serves_zoo:
            _serves_zoo[server.url] = ask(server, "GET", "/v2/models/identity_bf16/ready").status == 200
        if not _serves_zoo[server.url]:
            pytest.skip("this server does not serve the suite's models: python -m tests.conformance.zoo DIR publishes them")
    return server


@pytest.fixture
def own_server(server: Server) -> Server:
    """The server to ask, which the suite has started itself and may look into."""
    if server.pid is None:
        pytest.skip("looks at the server's process")
    return server


def _url(config: pytest.Config) -> str | None:
    # Not known where pytest was started on another folder: this file's options came too late then.
    url: str | None = config.getoption("--url", default=None)
    return url
