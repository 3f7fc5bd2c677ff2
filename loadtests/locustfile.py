"""Locust users that send golden samples and check every answer. `sameway loadtest` runs this file; so does Locust alone:

    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 --model digits --users 16 --run-time 20s

Locust patches the standard library when it is imported (gevent), so this file is loaded in a process of its own only.
"""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task

from loadtests.bodies import Sample, WrongAnswer, golden_samples

#: How long the first answer may take; a server that has given none by then will be reported as one.
_FIRST_ANSWER_SECONDS = 30.0

samples: list[Sample] = []


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_arguments(parser: Any) -> None:  # Any: Locust is not typed
    """Add the flags that say what is asked for."""
    parser.add_argument("--model", default="digits", help="the model to ask")
    parser.add_argument("--model-version", type=int, required=True, help="the version the server serves")
    parser.add_argument("--repository", default="models", help="where its golden sample lies")
    parser.add_argument("--seconds", type=float, default=0, help="end so long after the first answer; 0: as Locust says")
    parser.add_argument("--progress", action="store_true", help="tell every second how far it is, on standard error")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def read_samples(environment: Any, **_: Any) -> None:
    """Build all bodies before the first request."""
    options = environment.parsed_options
    samples[:] = golden_samples(Path(options.repository), options.model, options.model_version)
    if options.progress:
        gevent.spawn(_tell_progress, environment)
    if options.seconds:
        gevent.spawn(_stop_after, environment, options.seconds)


def _tell_progress(environment: Any) -> None:
    """Keep one line up to date until the process ends."""
    started = time.monotonic()
    while True:
        gevent.sleep(1)
        total, seconds = environment.stats.total, time.monotonic() - started
        rate = total.num_requests / seconds
        figures = f"{total.num_requests:>9,} requests {total.num_failures:>6,} failed {rate:>8,.0f}/s"
        sys.stderr.write(f"\r{seconds:>5.0f} s {figures}")
        sys.stderr.flush()


def _stop_after(environment: Any, seconds: float) -> None:
    """End the test so long after its first answer: Locust's own --run-time counts the seconds in which it starts, too."""
    patience = time.monotonic() + _FIRST_ANSWER_SECONDS
    while not environment.stats.total.num_requests and time.monotonic() < patience:
        gevent.sleep(0.01)
    gevent.sleep(seconds)
    environment.runner.quit()


class GoldenUser(FastHttpUser):
    """Sends one golden sample after another, without a pause, each from another place in the list."""

    abstract = True
    _starts = itertools.count()

    def on_start(self) -> None:
        """Choose where in the samples this user begins."""
        start = next(self._starts) * 7  # coprime to the usual 64: neighbours ask for different rows
        self.rows = itertools.cycle(range(len(samples)))
        for _ in range(start % len(samples)):
            next(self.rows)

    def ask(self, sample: Sample, path: str, body: bytes, *, name: str, check: Any) -> None:
        """Send one body and check its answer; a wrong one is a failure of its own kind."""
        headers = {"content-type": "application/octet-stream"}
        with self.client.post(path, data=body, headers=headers, name=name, catch_response=True) as response:  # type: ignore[arg-type]
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {(response.text or '')[:200]}")
                return
            try:
                sample.check_headers(response.headers.get("sameway-version"))
                check(response.json())
            except (WrongAnswer, ValueError, KeyError, TypeError) as error:
                response.failure(f"WrongAnswer: {error}")


class V2JsonUser(GoldenUser):
    """Speaks the Open Inference Protocol in JSON."""

    @task
    def infer(self) -> None:
        """Ask about one row."""
        sample = samples[next(self.rows)]
        path = f"/v2/models/{sample.manifest.model}/infer"
        self.ask(sample, path, sample.v2_json, name="V2 JSON", check=sample.check_v2)


class PredictUser(GoldenUser):
    """Sends image files."""

    @task
    def predict(self) -> None:
        """Ask about one picture."""
        sample = samples[next(self.rows)]
        if sample.file is None:
            gevent.sleep(1)  # a model without content has nothing for this user to do
            return
        path = f"/predict/{sample.manifest.model}"
        self.ask(sample, path, sample.file, name="/predict", check=sample.check_predict)
