"""Contract suite of the sides: each starts, answers as the model does in every way, and can be looked at and stopped.

The peers are held to it too where their environments are: `make bench-peers` makes them.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmark import bare_asgi, behind_nginx, fastapi_by_hand, flask_by_hand, model, sameway, tree
from loadtests.benchmark.peers import sides as peers
from loadtests.benchmark.peers.environments import FOLDER
from loadtests.benchmark.process import Running, running
from loadtests.benchmark.session import images, open_session, run
from loadtests.benchmark.side import BY_HAND, CannotRun, Side
from loadtests.benchmark.work import JSON, SMALL
from models.tensors import Array

SIDES = (
    sameway.side("fastapi"),
    sameway.side("flask"),
    bare_asgi.side(),
    fastapi_by_hand.side(workers=1),
    flask_by_hand.side(workers=1),
    *behind_nginx.sides()[0],
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> model.Published:
    return model.publish(tmp_path_factory.mktemp("benchmark"), SMALL)


@pytest.fixture(scope="module")
def expected(published: model.Published) -> dict[int, Array]:
    session = open_session(published.file)
    return {rows: run(session, images(rows)) for rows in (1, 32)}


@pytest.fixture(scope="module", params=SIDES, ids=lambda side: side.name)
def server(request: pytest.FixtureRequest, published: model.Published) -> Iterator[Running]:
    with running(request.param, published, images(1)) as started:
        yield started


@pytest.mark.parametrize("rows", [1, 32])
def test_it_answers_as_the_model_does(server: Running, expected: dict[int, Array], rows: int) -> None:
    for ask in server.side.exchanges.values():
        server.verify(ask(images(rows)), expected[rows])


def test_a_wrong_answer_names_the_side(server: Running, expected: dict[int, Array]) -> None:
    for ask in server.side.exchanges.values():
        with pytest.raises(CannotRun, match=server.side.name):
            server.verify(ask(images(1)), np.flip(expected[1]))


def test_its_processor_time_grows_and_its_memory_is_known(server: Running, expected: dict[int, Array]) -> None:
    before = server.cpu_seconds()
    assert before > 0
    exchange = next(iter(server.side.exchanges.values()))(images(32))
    for _ in range(2000):
        server.verify(exchange, expected[32])
        if server.cpu_seconds() > before:
            break
    else:
        pytest.fail("work takes processor time")
    assert 20e6 < server.peak_bytes() < 1e9


def test_it_stands_still_and_goes_on(server: Running, expected: dict[int, Array]) -> None:
    server.pause()
    server.idle_share(0.01)  # it is stopped once its threads have noticed
    assert server.idle_share(0.05) == 0.0
    server.resume()
    server.verify(server.side.exchanges[JSON](images(1)), expected[1])


def test_a_server_that_ends_at_once_is_named_with_its_last_words(published: model.Published) -> None:
    words = (sys.executable, "-c", "import sys; sys.exit('no such thing')")
    with (
        pytest.raises(CannotRun, match=r"broken: the server ended with code 1\nno such thing"),
        running(Side("broken", BY_HAND, words, SIDES[2].exchanges), published, images(1)),
    ):
        pass


def test_what_a_server_leaves_behind_is_ended_too(published: model.Published, tmp_path: Path) -> None:
    """A first process that ends alone, as some frameworks' do, leaves no child behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:])\n"
        "child.wait()\n"  # SIGTERM ends this process, not the child
    )
    bare = bare_asgi.side()
    side = Side("parent", BY_HAND, (sys.executable, str(script), *bare.command), bare.exchanges, bare.environment)
    with running(side, published, images(1)) as server:
        (child,) = tree.pids(server.pid)[1:]
        assert tree.started(child) is not None
    assert tree.started(child) is None


def test_variables_of_the_operator_do_not_reach_the_server(
    published: model.Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEWAY_PORT", "1")
    with running(SIDES[0], published, images(1)) as server:
        assert os.environ["SAMEWAY_PORT"] == "1"
        assert server.port != 1


def test_a_peer_without_an_environment_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "mosec.failed").write_text("No matching distribution found for mosec\n")
    found, absent = peers.sides(tmp_path)
    assert found == []
    reasons = {one.side: one.reason for one in absent}
    assert reasons["mosec"] == "No matching distribution found for mosec"
    assert "it has no environment yet" in reasons["BentoML"]


def test_what_serve_cannot_do_is_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("print('usage: sameway serve [--workers]')")
    found, absent = sameway.sides(root=tmp_path)
    assert len(found) == 4
    assert {one.reason for one in absent} == {"this checkout's `serve` has no --frontends"}
    (tmp_path / "cli.py").write_text("print('usage: sameway serve [--workers] [--frontends N]')")
    assert len(sameway.sides(root=tmp_path)[0]) == 6


@pytest.mark.long
@pytest.mark.parametrize("name", [peer.name for peer in peers.PEERS])
def test_a_peer_answers_as_the_model_does(name: str, published: model.Published, expected: dict[int, Array]) -> None:
    found = {side.name: side for side in peers.sides(FOLDER)[0]}
    if name not in found:
        pytest.skip("it has no environment here")
    with running(found[name], published, images(1)) as server:
        for ask in server.side.exchanges.values():
            for rows, right in expected.items():
                server.verify(ask(images(rows)), right)
