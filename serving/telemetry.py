"""OpenTelemetry: one span per request, with the stages of a model's answer below it, part of the client's own trace.

Spans are made when the request has ended, from the times that were measured anyway: nothing of this runs in the engine.
Where they go and how many are kept, the standard says: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME
and their like, https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. Names of attributes are
those of https://opentelemetry.io/docs/specs/semconv/http/http-spans/, and `sameway.*` for what those have no word for.
"""

import threading
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from serving.protocols.ending import PROBES, Ended

#: The methods whose names a span may bear; every other word of a client's is `_OTHER`, says the convention.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
#: Characters of a path that are kept. Our own have 50 and two names.
_PATH = 256
#: Seconds that close() waits for a collector which does not answer.
_CLOSE_SECONDS = 3.0


class TelemetryError(Exception):
    """The environment asks for what is not here."""


class Telemetry:
    """Makes spans of the requests that have ended."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("sameway")
        self._propagator = TraceContextTextMapPropagator()

    def finished(self, ended: Ended) -> None:
        """Make the spans of a request, and tell the record to which trace they belong."""
        if ended.route in PROBES and ended.status < 400:
            return
        # Spans have the time of day, in ns; ours are monotonic. The two clocks are compared at this very moment.
        offset = time.time_ns() - round(time.monotonic() * 1e9)

        def of_day(monotonic: float) -> int:
            return offset + round(monotonic * 1e9)

        span = self._tracer.start_span(
            name_of(ended),
            # Junk in the header is no context, and begins a trace of its own.
            self._propagator.extract(ended.headers),
            SpanKind.SERVER,
            attributes=attributes(ended),
            start_time=of_day(ended.received),
        )
        ended.trace_id = f"{span.get_span_context().trace_id:032x}"
        if not span.is_recording():
            return
        if ended.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        below = set_span_in_context(span)
        for stage, begin, end in stages(ended):
            self._tracer.start_span(stage, below, start_time=of_day(begin)).end(of_day(end))
        span.end(of_day(ended.ended))

    def close(self) -> None:
        """Send what is held, as far as the collector takes it in time."""
        # The SDK waits up to 30 seconds, and for a collector that is not there it does.
        closing = threading.Thread(target=self._provider.shutdown, name="telemetry", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def from_environment(environment: Mapping[str, str], *, version: str) -> Telemetry:
    """Return telemetry as the OTEL_* variables want it, sent by OTLP over HTTP; raise TelemetryError for another way."""
    exporter = check_environment(environment)
    return Telemetry(provider(OTLPSpanExporter() if exporter == "otlp" else None, version=version))


def check_environment(environment: Mapping[str, str]) -> str:
    """Return which exporter the OTEL_* variables name; raise TelemetryError for one, or a protocol, that is not here."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "") or "otlp"
    if exporter not in ("otlp", "none"):
        raise TelemetryError(f"OTEL_TRACES_EXPORTER: expected otlp or none, found {exporter!r}")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(name, "") or "http/protobuf"
        if protocol != "http/protobuf":
            raise TelemetryError(f"{name}: expected http/protobuf, found {protocol!r}")
    return exporter


def provider(exporter: SpanExporter | None, *, version: str) -> TracerProvider:
    """Return a provider that hands spans to the exporter from a thread of its own. The environment's resource goes first."""
    resource = Resource.create({"service.name": "sameway", "service.version": version})
    made = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    if exporter is not None:
        made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def name_of(ended: Ended) -> str:
    """Return a span's name: never a client's text, so that there are as few names as routes."""
    method = ended.method if ended.method in _METHODS else "HTTP"
    return method if ended.route is None else f"{method} {ended.route}"


def attributes(ended: Ended) -> dict[str, AttributeValue]:
    """Return what a request's span says of it."""
    found: dict[str, AttributeValue] = {
        "http.request.method": ended.method if ended.method in _METHODS else "_OTHER",
        "url.path": ended.path[:_PATH],
        "http.response.status_code": ended.status,
        "http.request.body.size": ended.bytes_in,
        "http.response.body.size": ended.bytes_out,
        "sameway.request_id": ended.request_id,
    }
    if ended.route is not None:
        found["http.route"] = ended.route
    if ended.address is not None:
        found["client.address"] = ended.address[:64]
    if ended.client is not None:
        found["sameway.client"] = ended.client
    if ended.reason:
        found["error.type"] = ended.reason
    if ended.model:
        found |= {"sameway.model.name": ended.model, "sameway.model.version": ended.version}
    if ended.response is not None:
        found |= {"sameway.model.digest": f"sha256:{ended.response.digest}", "sameway.rows": ended.response.rows}
    return found


def stages(ended: Ended) -> list[tuple[str, float, float]]:
    """Return the stages of a model's answer with their monotonic begin and end; none where there was no answer.

    `Server-Timing` and the access log add `join` and `split` up to `batch`; here each is where it was.
    """
    response = ended.response
    if response is None:
        return []
    timings, now = response.timings, response.timings.queued
    found = [("decode", ended.received, now)]
    for name, seconds in (
        ("queue", timings.queue),
        ("join", timings.join),
        ("compute", timings.run),
        ("split", timings.split),
    ):
        found.append((name, now, now + seconds))
        now += seconds
    return [*found, ("encode", ended.encoding, ended.ended)]
