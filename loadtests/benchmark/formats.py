"""The formats of one published version beside each other: the same requests, each served by a server of its own, in turns.

    python -m loadtests.benchmark formats models/digits/1 --formats onnx onnx_int8

What a quantized artifact gains in a server is less than what it gains alone: HTTP costs the same for both.
"""

import contextlib
import functools
import http.client
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from loadtests.benchmark import wrk
from loadtests.benchmark.model import Published
from loadtests.benchmark.process import HOST, Running, running
from loadtests.benchmark.session import open_session
from loadtests.benchmark.side import ROOT, SAMEWAY, CannotRun, Exchange, Side
from models.repository import CONFIG, Repository, RepositoryError
from models.tensors import Array

_READY_SECONDS, _LOOK_SECONDS = 60.0, 0.1
_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Format:
    """What a format carries: images/s in each round, in the order of the rounds."""

    name: str
    rows_per_second: tuple[float, ...]

    def beside(self, other: "Format") -> float:
        """Return the median of the ratios to another one, taken within each round."""
        return median(own / its for own, its in zip(self.rows_per_second, other.rows_per_second, strict=True))


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each format has its turn, for how long, on how many connections, with how many rows in a request."""

    rounds: int = 5
    seconds: int = 2
    connections: int = 4
    rows: int = 32
    workers: int = 2


def measure(version: Path, formats: Sequence[str], *, plan: Plan, folder: Path, tell: Callable[[str], None]) -> list[Format]:
    """Serve a version in each format and return what each carries; raise CannotRun."""
    generator = wrk.find()
    found: dict[str, list[float]] = {name: [] for name in formats}
    with contextlib.ExitStack() as stack:
        served = {name: stack.enter_context(_serving(version, name, plan, folder)) for name in formats}
        for server, _ in served.values():
            server.pause()
        for number in range(plan.rounds):
            for name, (server, exchange) in served.items():
                script = wrk.write_script(exchange, folder, name)
                server.resume()
                load = wrk.load(generator, script, server.port, exchange, connections=plan.connections, seconds=plan.seconds)
                server.pause()
                found[name].append(load.requests * plan.rows / load.seconds)
                tell(f"{number + 1}/{plan.rounds} {name:<16} {found[name][-1]:>10,.0f} rows/s")
    return [Format(name, tuple(rates)) for name, rates in found.items()]


def table(found: Sequence[Format], plan: Plan) -> str:
    """Return what was found, as Markdown; ratios are to the first."""
    lines = [f"| format | rows/s, {plan.rows} in a request | beside {found[0].name} |", "| - | -: | -: |"]
    lines += [f"| {one.name} | {median(one.rows_per_second):,.0f} | {one.beside(found[0]):.2f} × |" for one in found]
    return "\n".join(lines)


@contextlib.contextmanager
def _serving(version: Path, name: str, plan: Plan, folder: Path) -> Iterator[tuple[Running, Exchange]]:
    """Run a server that serves a version in one format, and have its answer looked at."""
    try:
        opened = Repository(version.parent.parent).open(version.parent.name, int(version.name))
    except (RepositoryError, ValueError) as error:
        raise CannotRun(f"{version}: expected a published version such as models/digits/1: {error}") from error
    artifact = next((one for one in opened.manifest.artifacts if one.format == name), None)
    if artifact is None:
        has = ", ".join(one.format for one in opened.manifest.artifacts)
        raise CannotRun(f"{version}: expected a format that it has ({has}), found {name!r}")
    repository = folder / name
    shutil.copytree(version, repository / version.parent.name / version.name)
    (repository / version.parent.name / CONFIG).write_text(f'format = "{name}"\ninstances = 1\nthreads = 1\n')
    signature = opened.manifest.signature
    (given,) = signature.inputs
    golden = np.load(version / "golden.npz", allow_pickle=False)[f"input:{given.name}"]
    images = golden[np.arange(plan.rows) % len(golden)]
    output = signature.outputs[0]
    expected = open_session(version / artifact.file).run([output.name], {given.name: images})[0]
    path = f"/v2/models/{version.parent.name}/infer"
    ask = functools.partial(_asked, path, given.name, given.datatype, (output.name, expected))
    serve = (sys.executable, "cli.py", "serve", "--repository", "{repository}", "--workers", str(plan.workers))
    side = Side(
        f"Sameway, {name}", SAMEWAY, (*serve, "--port", "{port}", "--drain-delay-seconds", "0"), {"": ask}, folder=ROOT
    )
    with running(side, Published(version / artifact.file, repository, repository), images) as server:
        _await_ready(server)
        server.verify(ask(images), expected)
        yield server, ask(images)


def _await_ready(server: Running) -> None:
    """Return once the server says that all of its processes have loaded; raise CannotRun."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=_READY_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        if time.monotonic() > end:
            raise CannotRun(f"{server.side.name}: not ready after {_READY_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)


def _asked(path: str, name: str, datatype: str, output: tuple[str, Array], images: Array) -> Exchange:
    """Return a request in binary, and how its first output is read."""
    wanted, expected = output

    def read(headers: Mapping[str, str], body: bytes) -> Array:
        return np.frombuffer(body[int(headers[_LENGTH]) :], expected.dtype).reshape(expected.shape)

    data = np.ascontiguousarray(images).tobytes()
    described = {
        "name": name,
        "datatype": datatype,
        "shape": list(images.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    asked = {"name": wanted, "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [described], "outputs": [asked]}, separators=(",", ":")).encode()
    return Exchange(path, head + data, read, {_LENGTH: str(len(head))})
