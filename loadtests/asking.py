"""One request: sent, its answer checked, its end noted. The base of every user of locustfile.py."""

import time
from typing import Any

import gevent
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError
from locust import User
from locust.exception import CatchResponseError

from loadtests import retry_after
from loadtests.bodies import Sample, WrongAnswer
from loadtests.client import EXHAUSTED, Answer, Client
from loadtests.generator import Generator
from loadtests.plan import Plan
from loadtests.records import FAILED, TOLD, Kind
from loadtests.said import words
from loadtests.wire import JSON_LENGTH, WireError

#: A client that is told to come back later does so a few times, not for ever.
_ATTEMPTS = 4


class Asker(User):
    """A user with one connection and one request at a time on it."""

    abstract = True

    def __init__(self, environment: Any) -> None:  # Any: Locust is not typed
        super().__init__(environment)
        self.generator: Generator = environment.generator
        plan = self.generator.plan
        # Ours is the timeout of a whole request; this one, of a single read, must not come first.
        self._client = Client(plan.url, timeout_seconds=plan.timeout_seconds + 5, tls=self.generator.tls)
        self._heads = [
            self._client.head(traffic.path, _headers(plan, number)) for number, traffic in enumerate(plan.traffic)
        ]

    def ask(self, meant: float) -> Kind | None:
        """Send the next request and note how it ended; None where the generator itself could not send it.

        `meant` is when it should have been sent, by time.monotonic(): latencies count from there, pauses that a server asked
        for included.
        """
        generator = self.generator
        number, sample = generator.next()
        late = time.monotonic() - meant
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                kind, pause = self._send(number, sample, meant, late=late, last=attempt == _ATTEMPTS)
                if pause:
                    generator.pause(pause)
                if kind is not None or generator.over:
                    break
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            generator.exhausted(error)
            return None
        except gevent.GreenletExit:  # the load has ended, and Locust waits no longer
            if generator.plan.open_load:
                self._unanswered(number, meant, late, Kind.TIMEOUT, "no answer until the end of the load")
            raise
        except Exception as error:
            generator.stop(f"{FAILED}: {error!r}")  # else Locust would log it, and begin again
            raise
        if kind is None:  # the load was over while it waited to be sent again
            kind = Kind.REFUSED
            generator.recorder.add(
                meant=generator.epoch(meant), late=late, seconds=time.monotonic() - meant, traffic=number, kind=kind,
                status=429, timing=None, why="status 429, until the end of the load",
            )  # fmt: skip
        generator.note(kind)
        return kind

    def never_sent(self, meant: float) -> None:
        """Note an arrival that found no connection until the load was over: whoever it was got no answer."""
        number, _ = self.generator.next()
        self._unanswered(number, meant, time.monotonic() - meant, Kind.NEVER_SENT, "no connection was free")

    def _unanswered(self, number: int, meant: float, late: float, kind: Kind, why: str) -> None:
        """Note a request without an answer, here and in Locust's own statistics."""
        generator, seconds = self.generator, time.monotonic() - meant
        generator.recorder.add(
            meant=generator.epoch(meant), late=late, seconds=seconds, traffic=number, kind=kind, status=0, timing=None,
            why=why,
        )  # fmt: skip
        traffic = generator.plan.traffic[number]
        self.environment.events.request.fire(
            request_type="POST", name=generator.plan.name(traffic), response_time=seconds * 1000, response_length=0,
            exception=CatchResponseError(TOLD[kind]), context={}, response=None,
            start_time=generator.epoch(meant), url=traffic.path,
        )  # fmt: skip

    def _send(self, number: int, sample: Sample, meant: float, *, late: float, last: bool) -> tuple[Kind | None, float]:
        """Send it once; return how it ended, None where it is to be sent again, and how long to pause before anything is.

        Raise OSError where this machine has nothing left to send it with.
        """
        generator, plan = self.generator, self.generator.plan
        traffic = plan.traffic[number]
        head, body = self._heads[number], _body(sample, traffic.payload)
        if traffic.payload == "binary":
            head += b"%s: %d\r\n" % (JSON_LENGTH.encode(), sample.binary_head)
        begun = time.time()
        answer, found = None, b""
        try:
            with gevent.Timeout(plan.timeout_seconds):
                answer, found = self._client.ask(head, body, generator.most_bytes(traffic.model))
            seconds = time.monotonic() - meant
            kind, why = self._judge(sample, traffic.payload, answer, found)
        except (gevent.Timeout, TimeoutError):
            seconds, kind, why = time.monotonic() - meant, Kind.TIMEOUT, f"no answer after {plan.timeout_seconds:g} s"
        except HTTPConnectionClosed as error:
            seconds, kind, why = time.monotonic() - meant, Kind.LOST, str(error)
        except HTTPParseError as error:
            seconds, kind, why = time.monotonic() - meant, Kind.MALFORMED, f"not HTTP: {error}"
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            seconds, kind, why = time.monotonic() - meant, Kind.LOST, f"{type(error).__name__}: {error}"
        pause = 0.0
        if kind == Kind.REFUSED and plan.honour_retry_after and answer is not None:
            pause = retry_after.seconds(answer.header("retry-after"), answer.header("date"))
            if not last:
                facts = generator.recorder.facts
                facts["waited"] = facts.get("waited", 0) + 1
                return None, pause
            if plan.open_load:  # it was a stranger's only request
                pause = 0.0
        generator.recorder.add(
            meant=generator.epoch(meant), late=late, seconds=seconds, traffic=number, kind=kind,
            status=0 if answer is None else answer.get_code(),
            timing=None if answer is None else answer.header("server-timing"), why=why,
        )  # fmt: skip
        # Locust's own statistics count from when it should have been sent, too.
        self.environment.events.request.fire(
            request_type="POST", name=plan.name(traffic), response_time=seconds * 1000, response_length=len(found),
            exception=None if kind == Kind.RIGHT else CatchResponseError(TOLD[kind]), context={}, response=None,
            start_time=begun, url=traffic.path,
        )  # fmt: skip
        return kind, pause

    def _judge(self, sample: Sample, payload: str, answer: Answer, body: bytes) -> tuple[Kind, str]:
        """Return how a request ended that was answered, and in words what was wrong."""
        if (status := answer.get_code()) != 200:
            return _failed(status, body)
        if (coding := answer.header("content-encoding")) not in (None, "identity"):
            return Kind.MALFORMED, f"content-encoding: asked for identity, found {words(str(coding), 40)}"
        json_length = answer.header(JSON_LENGTH)
        try:
            sample.check_headers(answer.header("sameway-version"))
            sample.check(payload, body, json_length)
        except WireError as error:
            return Kind.MALFORMED, str(error)
        except WrongAnswer as error:
            return self._wrong(sample, payload, body, json_length, str(error))
        return Kind.RIGHT, ""

    def _wrong(self, sample: Sample, payload: str, body: bytes, json_length: str | None, why: str) -> tuple[Kind, str]:
        """Find out whether a wrong answer would be right for another sample: then it is somebody else's."""
        for other in self.generator.samples(sample.case.model):
            try:
                other.check(payload, body, json_length)
            except (WrongAnswer, WireError):
                continue
            return Kind.SWAPPED, "the answer that another sample should have got"
        return Kind.WRONG, why


def _failed(status: int, body: bytes) -> tuple[Kind, str]:
    """Return the kind of an answer whose status says that it is none."""
    said = f"status {status}: {words(body)}"
    if status == 429:
        return Kind.REFUSED, said
    if status == 503:
        return Kind.UNAVAILABLE, said
    return (Kind.SERVER_ERROR if status >= 500 else Kind.CLIENT_ERROR), said


def _headers(plan: Plan, number: int) -> dict[str, str]:
    json = plan.traffic[number].payload == "json"
    kind = "application/json" if json else "application/octet-stream"
    return {"Content-Type": kind, "Accept-Encoding": "identity", **plan.headers}


def _body(sample: Sample, payload: str) -> bytes:
    if payload == "json":
        return sample.v2_json
    return sample.v2_binary if payload == "binary" else sample.file or b""
