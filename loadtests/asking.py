"""One request: sent, its answer checked, its end noted. The base of every user of locustfile.py."""

import time
from typing import Any

import gevent
from gevent.ssl import create_default_context
from locust import FastHttpUser
from locust.exception import CatchResponseError

from loadtests.bodies import Sample, WrongAnswer
from loadtests.generator import Generator
from loadtests.plan import Plan
from loadtests.records import TOLD, Kind
from loadtests.wire import JSON_LENGTH, WireError

#: A client that is told to come back later does so a few times, not for ever.
_ATTEMPTS = 4

#: What a 429 without `Retry-After` means to a client that honours it.
_USUAL_WAIT_SECONDS = 1.0


class Asker(FastHttpUser):
    """A user with one connection and one request at a time on it."""

    abstract = True

    def __init__(self, environment: Any) -> None:  # Any: Locust is not typed
        self.generator: Generator = environment.generator
        plan = self.generator.plan
        # Ours is the timeout of a whole request; this one, of a single read, must not come first.
        self.network_timeout = self.connection_timeout = plan.timeout_seconds + 5
        self.insecure = False
        self.ssl_context_factory = lambda: create_default_context(cafile=plan.ca)
        self._headers = [_headers(plan, number) for number in range(len(plan.traffic))]
        super().__init__(environment)

    def ask(self, meant: float) -> Kind:
        """Send the next request and note how it ended. `meant` is when it should have been sent, by time.monotonic()."""
        generator = self.generator
        number, sample = generator.next()
        late = time.monotonic() - meant
        for attempt in range(1, _ATTEMPTS + 1):
            kind, wait = self._send(number, sample, meant, late=late, last=attempt == _ATTEMPTS)
            if wait is None:
                break
            gevent.sleep(wait)
        generator.note(kind)
        return kind

    def _send(self, number: int, sample: Sample, meant: float, *, late: float, last: bool) -> tuple[Kind, float | None]:
        """Send it once; return how it ended, or how long to wait before it is sent again, which is no end yet."""
        generator, plan = self.generator, self.generator.plan
        traffic = plan.traffic[number]
        data: Any = _body(sample, traffic.payload)  # bytes, of which Locust's types know nothing
        headers = self._headers[number]
        if traffic.payload == "binary":
            headers = {**headers, JSON_LENGTH: str(sample.binary_head)}
        with (
            gevent.Timeout(plan.timeout_seconds),
            self.client.request(
                "POST", traffic.path, name=plan.name(traffic), data=data, headers=headers, catch_response=True,
                allow_redirects=False,
            ) as response,
        ):  # fmt: skip
            seconds = time.monotonic() - meant
            kind, why = self._judge(sample, traffic.payload, response)
            wait = self._wait(response) if kind == Kind.REFUSED and plan.honour_retry_after and not last else None
            # Locust's own statistics count from when it should have been sent, too.
            response.request_meta["response_time"] = seconds * 1000
            if kind == Kind.RIGHT:
                response.success()
            else:
                response.failure(CatchResponseError(TOLD[kind]))
            if wait is None:
                timing = None if response.headers is None else response.headers.get("server-timing")
                generator.recorder.add(
                    meant=generator.epoch(meant), late=late, seconds=seconds, traffic=number, kind=kind,
                    status=response.status_code or 0, timing=timing, why=why,
                )  # fmt: skip
            else:
                facts = generator.recorder.facts
                facts["waited"] = facts.get("waited", 0) + 1
        if kind == Kind.TIMEOUT:  # the answer may still come, and must not be taken for the next one's
            self.client.client.close()
            self.client = type(self)(self.environment).client
        return kind, wait

    def _judge(self, sample: Sample, payload: str, response: Any) -> tuple[Kind, str]:
        """Return how a request ended, and in words what was wrong. Any: Locust is not typed."""
        status = response.status_code or 0
        broken = response.request_meta["exception"]
        if status != 200:
            return _failed(status, response, getattr(response, "error", None))
        if broken is not None:  # the head came, the body did not
            return _failed(0, response, broken)
        body = response.content
        try:
            sample.check_headers(response.headers.get("sameway-version"))
            sample.check(payload, body, response.headers.get(JSON_LENGTH))
        except WireError as error:
            return Kind.MALFORMED, str(error)
        except WrongAnswer as error:
            return self._wrong(sample, payload, response, str(error))
        return Kind.RIGHT, ""

    def _wrong(self, sample: Sample, payload: str, response: Any, why: str) -> tuple[Kind, str]:
        """Find out whether a wrong answer would be right for another sample: then it is somebody else's. Any: Locust's."""
        for other in self.generator.samples(sample.case.model):
            try:
                other.check(payload, response.content, response.headers.get(JSON_LENGTH))
            except (WrongAnswer, WireError):
                continue
            return Kind.SWAPPED, "the answer that another sample should have got"
        return Kind.WRONG, why

    def _wait(self, response: Any) -> float | None:
        """Return how long the server asks to wait, None where the load is over by then. Any: Locust is not typed."""
        asked = str(response.headers.get("retry-after", ""))
        seconds = float(asked) if asked.isascii() and asked.isdigit() else _USUAL_WAIT_SECONDS
        left = self.generator.plan.profile.seconds - self.generator.seconds
        return seconds if seconds < left and not self.generator.stopping else None


def _failed(status: int, response: Any, error: Any) -> tuple[Kind, str]:
    """Return the kind of an answer that is none. Any: Locust is not typed."""
    if status == 0:
        error = getattr(error, "original", error)  # the HTTP client wraps what ended its last try
        if isinstance(error, gevent.Timeout | TimeoutError):
            return Kind.TIMEOUT, f"no answer after {getattr(error, 'seconds', None) or 'some'} s"
        return Kind.LOST, f"{type(error).__name__}: {error}"[:200]
    said = f"status {status}: {' '.join((response.text or '').split())[:200]}"
    if status == 429:
        return Kind.REFUSED, said
    if status == 503:
        return Kind.UNAVAILABLE, said
    return (Kind.SERVER_ERROR if status >= 500 else Kind.CLIENT_ERROR), said


def _headers(plan: Plan, number: int) -> dict[str, str]:
    json = plan.traffic[number].payload == "json"
    kind = "application/json" if json else "application/octet-stream"
    return {"content-type": kind, "accept-encoding": "identity", **plan.headers}


def _body(sample: Sample, payload: str) -> bytes:
    if payload == "json":
        return sample.v2_json
    return sample.v2_binary if payload == "binary" else sample.file or b""
