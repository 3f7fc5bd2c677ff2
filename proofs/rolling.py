"""Proof of a rolling restart, `make rolling`: behind nginx, servers are restarted in turn and no client notices.

    python -m proofs.rolling [--restarts 5]

Two servers, one on each front end, behind nginx with deploy/nginx.conf as it is, but for the ports. Open load at 200
requests a second through nginx; each server is stopped by SIGTERM and started again on its port, in turn, so many times.
Needs nginx (Debian: nginx-light); nothing is installed here.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from proofs import telling
from proofs.load import Outcome, open_load, percentile
from proofs.overload import FRONTENDS
from proofs.server import ROOT, Server
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
_RATE = 200.0
#: A second server stops only when the first has answered again for so long.
_PAUSE_SECONDS = 0.5
#: nginx takes some 50 ms to listen.
_START_SECONDS = 10.0
_LOG = "error.log"
#: The exit code where something that this needs is missing.
MISSING = 2


def nginx() -> str | None:
    """Return where nginx is, None if it is not installed."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def prove(program: str, *, restarts: int) -> list[Verdict]:
    """Restart both servers so many times under load through nginx, and return what was found."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = Path(folder) / "models"
        telling.publish(root)
        servers = [Server.start(root, frontend=frontend) for frontend in FRONTENDS]
        stack.callback(lambda: [server.kill() for server in servers if server.process.poll() is None])
        for server in servers:
            server.ready()
        port = stack.enter_context(proxy(program, Path(folder), [server.port for server in servers]))
        codes: list[int] = []
        outcomes = asyncio.run(_roll(servers, port, codes, restarts=restarts))
        complaints = _complaints(Path(folder) / _LOG)
        errors = [line for server in servers for line in server.errors()]
    good = [outcome for outcome in outcomes if outcome.good]
    failed = Counter(f"{one.kind}: {one.status or 'no answer'}" for one in outcomes if not one.good)
    return [
        told("requests", len(outcomes)),
        at_least("restarts of each server", len(codes) / len(servers), restarts),
        none_of("failed requests", [f"{count} × {what}" for what, count in failed.items()]),
        # Why requests were sent to the other server, or could not be.
        *(told(f"nginx: {what}", count) for what, count in complaints.most_common(5)),
        told("p99 of answers", percentile((one.seconds for one in good), 99) * 1000, " ms"),
        told("longest answer", max(one.seconds for one in good) * 1000, " ms"),
        at_most("exit codes other than 0", sum(code != 0 for code in codes), 0),
        none_of("errors in the servers' logs", errors),
    ]


async def _roll(servers: list[Server], port: int, codes: list[int], *, restarts: int) -> list[Outcome]:
    ended = asyncio.Event()
    host = f"127.0.0.1:{port}"
    load = asyncio.create_task(
        open_load("127.0.0.1", port, telling.requests(host), rate=_RATE, seconds=3600.0, connections=64, until=ended.is_set)
    )
    try:
        for _ in range(restarts):
            for place in range(len(servers)):
                await asyncio.sleep(_PAUSE_SECONDS)
                codes.append(await asyncio.to_thread(servers[place].stop))
                servers[place] = await asyncio.to_thread(lambda place=place: servers[place].again().ready())  # type: ignore[misc]
        await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        ended.set()
    return await load


@contextlib.contextmanager
def proxy(program: str, folder: Path, ports: list[int]) -> Iterator[int]:
    """Run nginx in front of these ports until the block ends, and give its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, port, ports))
    # Started by root it would work as another user, who cannot write into this folder what it keeps of large bodies.
    directives = f"daemon off; pid {folder}/nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
    process = subprocess.Popen(
        [program, "-e", str(folder / _LOG), "-p", str(folder), "-c", str(file), "-g", directives], stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise RuntimeError(f"nginx did not start: {(folder / _LOG).read_text()}")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def configuration(folder: Path, port: int, ports: list[int]) -> str:
    """Return the configuration that people copy, on other ports, and with nothing outside of a folder."""
    text = CONFIGURATION.read_text()
    for old, new in ((8080, port), (8000, ports[0]), (8001, ports[1])):
        text, changed = re.subn(rf"127\.0\.0\.1:{old}\b", f"127.0.0.1:{new}", text)
        if changed != 1:
            raise RuntimeError(f"{CONFIGURATION.name}: expected 127.0.0.1:{old} once, found {changed} times")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return text.replace("http {\n", f"http {{\n{paths}", 1)


def _complaints(log: Path) -> Counter[str]:
    """Return what nginx complains of, and how often: the message without addresses and what comes after them."""
    found = re.findall(r"\[\w+\] \d+#\d+: (?:\*\d+ )?([^,]*),", log.read_text())
    return Counter(re.sub(r"\d{3,}", "…", message) for message in found)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main() -> int:
    """Print what was found; return 1 where the promise is broken, 2 where nginx is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=5, help="restarts of each server (5)")
    arguments = parser.parse_args()
    program = nginx()
    if program is None:
        print("rolling: nginx is not installed; on Debian: apt-get install nginx-light", file=sys.stderr)
        return MISSING
    verdicts = prove(program, restarts=arguments.restarts)
    print("rolling, behind nginx", table(verdicts), sep="\n")
    return exit_code(verdicts)


if __name__ == "__main__":
    sys.exit(main())
