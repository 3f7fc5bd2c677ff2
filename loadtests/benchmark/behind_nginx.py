"""Two of our servers behind nginx, with deploy/nginx.conf as it is but for the ports: what a balancer costs each request.

    python -m loadtests.benchmark.behind_nginx --port 8080 --repository models

is the side's process: it starts all three, ends them when it is told to, and ends when the first of them does.
"""

import argparse
import contextlib
import functools
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtests.benchmark.asking import as_binary, as_json
from loadtests.benchmark.session import MODEL
from loadtests.benchmark.side import ROOT, SAMEWAY, Absent, CannotRun, Side
from loadtests.benchmark.work import BINARY, JSON

NAME = "Sameway, FastAPI, 2 servers behind nginx"
_MODULE = "loadtests.benchmark.behind_nginx"
_CONFIGURATION = ROOT / "deploy" / "nginx.conf"
_PATH = f"/v2/models/{MODEL}/infer"
#: Debian has it where only root looks.
_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_LOOK_SECONDS = 0.05


def sides() -> tuple[list[Side], list[Absent]]:
    """Return the two servers and their balancer, or why they cannot be had."""
    if shutil.which("nginx", path=_PLACES) is None:
        return [], [Absent(NAME, None, "needs the program 'nginx' (on Debian and Ubuntu: apt-get install nginx-light)")]
    return [
        Side(
            NAME,
            SAMEWAY,
            (sys.executable, "-m", _MODULE, "--port", "{port}", "--repository", "{repository}"),
            {JSON: functools.partial(as_json, _PATH), BINARY: functools.partial(as_binary, _PATH)},
        )
    ], []


def configuration(folder: Path, port: int, servers: Sequence[int]) -> str:
    """Return deploy/nginx.conf on these ports, all it writes in a folder; raise CannotRun if it has others."""
    text = _CONFIGURATION.read_text(encoding="utf-8")
    for old, new in ((8080, port), (8000, servers[0]), (8001, servers[1])):
        text, changed = re.subn(rf"127\.0\.0\.1:{old}\b", f"127.0.0.1:{new}", text)
        if changed != 1:
            raise CannotRun(f"{_CONFIGURATION}: expected 127.0.0.1:{old} once, found it {changed} times")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return text.replace("http {\n", f"http {{\n{paths}", 1)


def main() -> int:
    """Run both servers and nginx until one of them ends or SIGTERM comes; return the exit code of the one that ended."""
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="behind-nginx-") as name, contextlib.ExitStack() as stack:
        folder, ports = Path(name), _free_ports(2)
        # Root's nginx works as another user, and has its larger bodies in files here.
        folder.chmod(0o711)
        file = folder / "nginx.conf"
        file.write_text(configuration(folder, arguments.port, ports), encoding="utf-8")
        serve = (sys.executable, str(ROOT / "cli.py"), "serve", "--repository", str(arguments.repository))
        commands = [(*serve, "--port", str(port), "--drain-delay-seconds", "0") for port in ports]
        nginx = str(shutil.which("nginx", path=_PLACES))
        commands.append((nginx, "-p", name, "-e", "stderr", "-c", str(file), "-g", f"daemon off; pid {name}/nginx.pid;"))
        running = [stack.enter_context(_process(words)) for words in commands]
        while True:
            for one in running:
                if one.poll() is not None:
                    return one.returncode
            time.sleep(_LOOK_SECONDS)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody has, held together for a moment so that they differ."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


@contextlib.contextmanager
def _process(words: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(words)  # noqa: S603 - our own words
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
