"""Contract suite of the sides: each starts, answers as the model does in both ways, and can be looked at."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmark import bare, model, sameway
from loadtests.benchmark.process import Running, running
from loadtests.benchmark.side import BINARY, JSON, CannotRun, Side
from models.tensors import Array

SIDES = ("bare FastAPI", "Sameway, FastAPI", "Sameway, Flask")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("benchmark")
    return model.publish(root)


@pytest.fixture(scope="module", params=SIDES)
def server(request: pytest.FixtureRequest, published: Path) -> Iterator[Running]:
    repository, image = published.parents[2], model.images(1)
    sides = [bare.side(published, image), *(sameway.side(name, repository, image) for name in ("fastapi", "flask"))]
    with running(next(side for side in sides if side.name == request.param)) as started:
        yield started


@pytest.fixture(scope="module")
def expected(published: Path) -> Array:
    found: Array = model.open_session(published).run([model.OUTPUT], {model.INPUT: model.images(1)})[0]
    return found


@pytest.mark.parametrize("kind", [JSON, BINARY])
def test_it_answers_as_the_model_does(server: Running, expected: Array, kind: str) -> None:
    server.verify(server.side.exchanges[kind], expected)


@pytest.mark.parametrize("kind", [JSON, BINARY])
def test_a_wrong_answer_names_the_side(server: Running, expected: Array, kind: str) -> None:
    with pytest.raises(CannotRun, match=server.side.name):
        server.verify(server.side.exchanges[kind], np.flip(expected))


def test_its_processor_time_grows_and_its_memory_is_known(server: Running, expected: Array) -> None:
    before = server.cpu_seconds()
    assert before > 0
    tick = 1 / os.sysconf("SC_CLK_TCK")
    for _ in range(1000):
        server.verify(server.side.exchanges[JSON], expected)
        if server.cpu_seconds() >= before + tick:
            break
    assert server.cpu_seconds() >= before + tick
    assert server.peak_bytes() > 20_000_000


def test_a_server_that_cannot_start_is_reported_with_its_own_words() -> None:
    side = Side("broken", (sys.executable, "-c", "raise SystemExit('no port {port} for me')"), "/", {}, Path.cwd())
    with pytest.raises(CannotRun, match=r"(?s)broken: the server ended with code 1.*no port \d+ for me"), running(side):
        pass


def test_children_count_too() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    program = f"""
import http.server, subprocess, sys
subprocess.run([sys.executable, "-c", {burn!r}])
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", {{port}}), Ready).serve_forever()
"""
    with running(Side("parent", (sys.executable, "-c", program), "/", {}, Path.cwd())) as server:
        assert server.cpu_seconds() >= 0.3
