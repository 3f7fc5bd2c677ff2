"""wrk, the generator: C and one thread, so that it takes little of the machine it shares with the server.

https://github.com/wg/wrk. It sends one request over and over on so many connections, each when the last answer has come.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark.process import HOST
from loadtests.benchmark.side import CannotRun, Exchange

#: What wrk has counted is told by its script on one line, exactly; its own words are rounded.
_DONE = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("figures %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
#: wrk's own two seconds would call a slow server's answers errors where 64 wait for a larger model.
_TIMEOUT = "20s"
_FIGURES = re.compile(r"^figures (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk has counted: answers, the seconds they took, their latencies."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def find() -> str:
    """Return where wrk is; raise CannotRun where it is not."""
    path = shutil.which("wrk")
    if path is None:
        raise CannotRun("needs the program 'wrk', which is not there; on Debian and Ubuntu: apt-get install wrk")
    return path


def version(path: str) -> str:
    """Return what wrk calls itself."""
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - found by us
    return said.split()[1] if len(said.split()) > 1 else "of an unknown version"


def write_script(exchange: Exchange, folder: Path, name: str) -> Path:
    """Write the script that makes wrk send an exchange's request, its body in a file of its own; return its path."""
    body, script = folder / f"{name}.body", folder / f"{name}.lua"
    body.write_bytes(exchange.body)
    headers = "".join(f'wrk.headers["{key}"] = "{value}"\n' for key, value in exchange.headers.items())
    opened = f'local file = assert(io.open("{body}", "rb"))\nwrk.body = file:read("*a")\nfile:close()\n'
    script.write_text(f'wrk.method = "POST"\n{headers}{opened}{_DONE}', encoding="utf-8")
    return script


def load(path: str, script: Path, port: int, exchange: Exchange, *, connections: int, seconds: int) -> Load:
    """Put load on a server and return what came of it; raise CannotRun where any request had no answer, or no 200."""
    command = [path, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", _TIMEOUT, "-s", str(script)]
    url = f"http://{HOST}:{port}{exchange.path}"
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    found = _FIGURES.search(done.stdout)
    if found is None:
        raise CannotRun(f"wrk ended with code {done.returncode} and without figures: {(done.stderr or done.stdout)[-300:]}")
    requests, microseconds, p50, p99, errors = map(int, found.groups())
    if errors or not requests:
        raise CannotRun(f"{url}: expected answers with status 200, found {requests} answers and {errors} errors")
    return Load(requests, microseconds / 1e6, p50 / 1000, p99 / 1000)
