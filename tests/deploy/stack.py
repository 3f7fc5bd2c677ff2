"""compose.yaml's services as processes of this machine: both front ends, nginx in front of them, Prometheus; and some load.

The same files as in the containers, but for addresses and Prometheus' intervals. Grafana is left out: it has no package.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.content import ImageContent
from proofs import telling
from proofs.server import Server
from tests.deploy import prometheus
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import DEPLOY, ROOT, run, said, tool

#: In the order of prometheus.yml's targets and of nginx.conf's servers.
FRONTENDS = ("fastapi", "flask")
_START_SECONDS = 30.0
#: Between two requests: a little load, for the machine has others to serve.
_PAUSE_SECONDS = 0.02
_STAND_INS = Path(__file__).parent / "stand_ins"


class Stack:
    """What runs."""

    def __init__(self, servers: list[Server], prometheus: Prometheus, port: int) -> None:
        self.servers = servers
        self.prometheus = prometheus
        #: nginx's.
        self.port = port


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Run the stack, with load through nginx, until the block ends."""
    for name in ("prometheus", "nginx"):
        tool(name)
    root = folder / "models"
    telling.publish(root)
    variables = {"PYTHONPATH": f"{_STAND_INS}{os.pathsep}{ROOT}"}
    with contextlib.ExitStack() as stack:
        servers = []
        for frontend in FRONTENDS:
            servers.append(Server.start(root, "--drain-delay-seconds", "0", frontend=frontend, environment=variables))
            stack.callback(_end, servers[-1])
        for server in servers:
            server.ready()
        port = stack.enter_context(_nginx(folder, [server.authority for server in servers]))
        authorities = [server.authority for server in servers]
        (folder / "prometheus").mkdir()
        found = stack.enter_context(prometheus.running(folder / "prometheus", prometheus.configuration(authorities)))
        stack.enter_context(_load(port))
        yield Stack(servers, found, port)


def nginx_configuration() -> str:
    """Return what compose.yaml's nginx runs with, made as it makes it: by sed, of deploy/nginx.conf."""
    done = subprocess.run(
        ["sed", "-f", str(DEPLOY / "nginx-compose.sed"), str(DEPLOY / "nginx.conf")], capture_output=True, text=True
    )
    assert done.returncode == 0, said(done)
    return done.stdout


def _end(server: Server) -> None:
    if server.process.poll() is None:
        server.stop()


@contextlib.contextmanager
def _nginx(folder: Path, servers: list[str]) -> Iterator[int]:
    """Run nginx as compose.yaml does, on loopback and in a folder, and give its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    text = nginx_configuration().replace("pid /tmp/nginx.pid;", f"pid {folder}/nginx.pid;")
    for old, new in (("listen 8080", f"listen 127.0.0.1:{port}"), ("fastapi:8000", servers[0]), ("flask:8000", servers[1])):
        assert text.count(old) == 1, f"expected {old} once in:\n{text}"
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    file, log = folder / "nginx.conf", folder / "nginx.log"
    # One process of it: the machine has others to serve.
    file.write_text(re.sub(r"worker_processes \w+", "worker_processes 1", text).replace("http {\n", f"http {{\n{paths}", 1))
    words = [tool("nginx"), "-e", str(log), "-p", str(folder), "-c", str(file)]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, said(checked)
    process = subprocess.Popen([*words, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _listens(port):
            assert process.poll() is None, f"nginx ended: {log.read_text()}"
            assert time.monotonic() < end, f"nginx does not listen: {log.read_text()}"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def _load(port: int) -> Iterator[None]:
    """Ask one question after the other through nginx, every kind of answer among them, until the block ends."""
    ended = threading.Event()
    thread = threading.Thread(target=_ask, args=(port, ended), name="load", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=30)


def _ask(port: int, ended: threading.Event) -> None:
    good = json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 4, 4], "data": [7] * 32}]}).encode()
    wrong = good.replace(b"UINT8", b"INT64")
    image = ImageContent("image", 4, 4, "L").to_png(np.full((4, 4), 60, np.uint8))
    model = f"/v2/models/{telling.MODEL}/infer"
    requests = [(model, good), (f"/predict/{telling.MODEL}", image), (model, wrong), ("/v2/models/none/infer", good)]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        while not ended.wait(_PAUSE_SECONDS):
            for path, body in requests:
                try:
                    connection.request("POST", path, body)
                    connection.getresponse().read()
                except (OSError, http.client.HTTPException):  # a server that a test has ended
                    connection.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def compose(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Debian's docker-compose on compose.yaml; what it does to the configuration needs no engine."""
    return run("docker-compose", "-f", "deploy/compose.yaml", *words, environment=variables)
