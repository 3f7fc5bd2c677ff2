"""Put load on a running server, check every answer, and say how much it carried.

  sameway loadtest http://127.0.0.1:8000 --model digits --users 16 --duration 20

Half of the users send golden samples as Open Inference Protocol JSON, half as image files to /predict. The answers are
compared with the golden outputs in the model repository. Exit codes: 0 every answer was right, 1 some were wrong or
failed, 2 the test could not run.
"""

import argparse
import csv
import http.client
import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from loadtests.bodies import golden_samples
from models.repository import RepositoryError

_LOCUSTFILE = Path(__file__).parent / "locustfile.py"


class CannotRun(Exception):
    """The test could not be started; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("url", help="where the server is, as http://host:port")
    parser.add_argument("--model", default="digits", help="the model to ask")
    parser.add_argument("--users", type=_positive, default=16, help="connections, each with one request at a time")
    parser.add_argument("--duration", type=_positive, default=20, help="seconds of load")
    parser.add_argument("--repository", type=Path, default=Path("models"), help="where the golden samples are")


def run(arguments: argparse.Namespace) -> int:
    """Run Locust in a process of its own and report."""
    try:
        if importlib.util.find_spec("locust") is None:
            raise CannotRun("needs the package 'locust'; install it with: pip install 'sameway[loadtest]'")
        version = _served_version(arguments.url.rstrip("/"), arguments.model)
        golden_samples(arguments.repository, arguments.model, version)
        statistics, failures = _load(arguments, version)
    except (CannotRun, RepositoryError) as error:
        print(f"sameway loadtest: {error}", file=sys.stderr)
        return 2
    return _report(statistics, failures, arguments.duration)


def _served_version(url: str, model: str) -> int:
    """Return the newest version of a model that the server serves; raise CannotRun where there is none."""
    if not url.startswith(("http://", "https://")):
        raise CannotRun(f"url: expected http://host:port, found {url!r}")
    try:
        with urllib.request.urlopen(f"{url}/v2/models/{quote(model, safe='')}", timeout=10) as answer:  # noqa: S310 - checked above
            return max(int(version) for version in json.load(answer)["versions"])
    except urllib.error.HTTPError as error:
        raise CannotRun(f"{url}: model {model!r}: {error.read().decode(errors='replace')[:300]}") from error
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise CannotRun(f"{url}: no Open Inference Protocol server answers there: {error}") from error


def _load(arguments: argparse.Namespace, version: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Run Locust; return its statistics and its failures. Its progress goes to standard error as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--json", "--skip-log-setup", "--progress",
            "--csv", f"{folder}/load", "--host", arguments.url.rstrip("/"), "--stop-timeout", "10",
            "--users", str(arguments.users), "--spawn-rate", str(arguments.users), "--seconds", str(arguments.duration),
            "--model", arguments.model, "--model-version", str(version), "--repository", str(arguments.repository.resolve()),
        ]  # fmt: skip
        print(f"{arguments.users} users for {arguments.duration} s …", file=sys.stderr, flush=True)
        finished = subprocess.run(  # noqa: S603 - our own words
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
        )
        print(file=sys.stderr)  # ends the line of progress
        try:
            statistics = json.loads(finished.stdout)
            with Path(folder, "load_failures.csv").open(newline="") as file:
                failures = list(csv.DictReader(file))
        except (OSError, ValueError) as error:
            raise CannotRun(f"Locust ended with code {finished.returncode} and without figures") from error
    return statistics, failures


def _report(statistics: list[dict[str, Any]], failures: list[dict[str, str]], seconds: int) -> int:
    """Print throughput, latencies and failures, a line for each kind of request; return the exit code."""
    print(f"{'request':<12}{'count':>9}{'failed':>8}{'per s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for entry in statistics:
        milliseconds = [_percentile(entry["response_times"], share) for share in (0.5, 0.95, 0.99)]
        columns = "".join(f"{value:>9.4g}" for value in (*milliseconds, entry["max_response_time"]))
        rate = entry["num_requests"] / seconds
        print(f"{entry['name']:<12}{entry['num_requests']:>9,}{entry['num_failures']:>8,}{rate:>9,.0f}{columns}")
    for failure in failures:
        print(f"FAILED {failure['Occurrences']} × {failure['Name']}: {failure['Error']}")
    total = sum(entry["num_requests"] for entry in statistics)
    failed = sum(entry["num_failures"] for entry in statistics)
    print(f"{total:,} answers, {failed:,} of them failed" if failed or not total else f"all {total:,} answers were right")
    return 0 if total and not failed else 1


def _percentile(counts: dict[str, int], share: float) -> float:
    """Return the smallest response time (ms) that so large a share of the requests did not exceed."""
    times = sorted((float(time), count) for time, count in counts.items())
    wanted = share * sum(count for _, count in times)
    seen = 0
    for time, count in times:
        seen += count
        if seen >= wanted:
            return time
    return 0.0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return number
