"""Spans: of a request that has ended, and those that a real collector gets from a real server."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

import cli
from serving import process
from serving.observers import ObserverError
from serving.protocols.ending import Ended
from serving.request import InferResponse, Timings
from serving.settings import Settings
from serving.telemetry import Telemetry, TelemetryError, from_environment
from tests import toys
from tests.serving.collector import Collector, values
from tests.serving.desk import infer_body
from tests.serving.live import request, serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
ROUTE = "/v2/models/{model}/infer"


def ended(**other: object) -> Ended:
    """Return a record of an answer by a model a moment ago, with other values where they are given."""
    now = time.monotonic() - 1.0
    timings = Timings(queue=0.002, join=0.001, run=0.003, split=0.001, queued=now + 0.001)
    record = Ended(
        request_id="r-1",
        method="POST",
        path="/v2/models/toy/infer",
        headers={},
        address="192.0.2.1",
        client=None,
        route=ROUTE,
        status=200,
        outcome="ok",
        reason="",
        bytes_in=100,
        bytes_out=200,
        model="toy",
        version="1",
        response=InferResponse("toy", 1, "d" * 64, {"y": np.zeros(4)}, None, timings, 4),
        encoding=now + 0.009,
        received=now,
        ended=now + 0.010,
    )
    for name, value in other.items():
        setattr(record, name, value)
    return record


class Memory:
    """Telemetry whose spans stay here."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(provider)

    def of(self, record: Ended) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Return a record's own span, and those below it."""
        self.exporter.clear()
        self.telemetry.finished(record)
        spans = self.exporter.get_finished_spans()
        (own,) = [span for span in spans if span.kind is SpanKind.SERVER]
        return own, [span for span in spans if span is not own]


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_request_is_a_span_with_the_conventions_attributes(memory: Memory) -> None:
    span, _ = memory.of(ended())
    assert span.name == f"POST {ROUTE}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "url.path": "/v2/models/toy/infer",
        "http.response.status_code": 200,
        "http.request.body.size": 100,
        "http.response.body.size": 200,
        "client.address": "192.0.2.1",
        "sameway.request_id": "r-1",
        "sameway.model.name": "toy",
        "sameway.model.version": "1",
        "sameway.model.digest": "sha256:" + "d" * 64,
        "sameway.rows": 4,
    }
    assert span.status.is_unset


def test_stages_follow_each_other_below_it_at_the_times_at_which_they_were(memory: Memory) -> None:
    record = ended()
    span, stages = memory.of(record)
    assert span.start_time is not None
    assert abs(time.time_ns() - span.start_time - 1e9) < 0.5e9
    start = span.start_time
    shown = [(s.name, round(((s.start_time or 0) - start) / 1e6), round(((s.end_time or 0) - start) / 1e6)) for s in stages]
    assert shown == [
        ("decode", 0, 1),
        ("queue", 1, 3),
        ("join", 3, 4),
        ("compute", 4, 7),
        ("split", 7, 8),
        ("encode", 9, 10),
    ]
    assert round(((span.end_time or 0) - start) / 1e6) == 10
    assert span.context is not None
    assert {s.parent.span_id for s in stages if s.parent} == {span.context.span_id}


def test_it_goes_on_with_the_client_s_trace(memory: Memory) -> None:
    record = ended(headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})
    span, stages = memory.of(record)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.context is not None
    assert span.context.trace_state.get("vendor") == "1"
    assert {stage.context.trace_id for stage in stages if stage.context} == {span.context.trace_id}
    assert record.trace_id == TRACE


@pytest.mark.parametrize(
    "junk",
    ["", "junk", "00-" + "0" * 32 + f"-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", f"{SAMPLED}, {SAMPLED}", "é" * 9_999, "\0"],
    ids=ascii,
)
def test_junk_begins_a_trace_of_its_own(memory: Memory, junk: str) -> None:
    record = ended(headers={"traceparent": junk, "tracestate": "=,=;" * 100})
    span, _ = memory.of(record)
    assert span.parent is None
    assert record.trace_id not in ("", TRACE, "0" * 32)


def test_a_client_that_is_not_sampled_makes_no_span_and_has_its_trace_in_the_record(memory: Memory) -> None:
    record = ended(headers={"traceparent": SAMPLED[:-1] + "0"})
    memory.telemetry.finished(record)
    assert memory.exporter.get_finished_spans() == ()
    assert record.trace_id == TRACE


def test_a_sampler_that_keeps_nothing_costs_no_stages() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Telemetry(provider).finished(ended())
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(("status", "reason", "failed"), [(404, "model_not_found", False), (503, "model_not_ready", True)])
def test_an_error_is_named_and_only_ours_is_a_failure(memory: Memory, status: int, reason: str, failed: bool) -> None:
    span, stages = memory.of(ended(status=status, reason=reason, response=None, model="", version=""))
    found = dict(span.attributes or {})
    assert (found["http.response.status_code"], found["error.type"]) == (status, reason)
    assert (not span.status.is_ok and not span.status.is_unset) is failed
    assert stages == []


def test_no_name_comes_from_a_client(memory: Memory) -> None:
    span, _ = memory.of(ended(method="JUNK", route=None, path="/" + "x" * 9_999, status=405, reason="a", response=None))
    found = dict(span.attributes or {})
    assert (span.name, found["http.request.method"], len(str(found["url.path"]))) == ("HTTP", "_OTHER", 256)
    assert "http.route" not in found


def test_probes_that_went_well_make_no_span(memory: Memory) -> None:
    memory.telemetry.finished(ended(route="/v2/health/ready"))
    memory.telemetry.finished(ended(route="/metrics"))
    assert memory.exporter.get_finished_spans() == ()
    memory.of(ended(route="/v2/health/ready", status=503, reason="model_not_ready"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
    ],
)
def test_an_environment_that_asks_for_what_is_not_here_is_refused(name: str, value: str, expected: str) -> None:
    with pytest.raises(TelemetryError, match=f"{name}: expected {expected}, found '{value}'"):
        from_environment({name: value}, version="1")


def test_a_bad_environment_ends_with_2_and_one_line(
    toy_repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    assert cli.main(["serve", "--repository", str(toy_repository), "--telemetry"]) == 2
    assert capsys.readouterr().err == "sameway serve: OTEL_TRACES_EXPORTER: expected otlp or none, found 'zipkin'\n"


def test_without_the_extra_it_ends_with_2_and_says_what_to_install(
    toy_repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "serving.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ObserverError):
        process.wired_alone(Settings(repository=toy_repository, telemetry=True))
    assert cli.main(["serve", "--repository", str(toy_repository), "--telemetry"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("sameway serve: telemetry needs the package 'opentelemetry")
    assert shown.endswith("pip install 'sameway[otel]'\n")


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_a_collector_gets_the_spans_of_a_server_by_its_end(
    toy_repository: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, frontend: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with serving(toy_repository, "--telemetry", "--frontend", frontend) as server, server.connect() as connection:
        body = infer_body(toys.images(2))
        connection.send(request("POST", "/v2/models/toy/infer", body, f"traceparent: {SAMPLED}"))
        assert connection.answer().status == 200
        connection.send(request("GET", "/metrics")).answer()
        assert server.stop() == 0
    spans = [span for span in collector.spans() if span.trace_id.hex() == TRACE]
    (own,) = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert (own.name, own.parent_span_id.hex()) == (f"POST {ROUTE}", PARENT)
    assert values(list(own.attributes)).items() >= {"sameway.model.name": "toy", "sameway.rows": "2"}.items()
    below = [span for span in spans if span.parent_span_id == own.span_id]
    assert [span.name for span in below] == ["decode", "queue", "join", "compute", "split", "encode"]
    assert all(own.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in below)
    assert below[-1].end_time_unix_nano == own.end_time_unix_nano
    assert not [span for span in collector.spans() if span.name == "GET /metrics"]
    found = collector.resource()
    assert (found["service.name"], found["deployment.environment.name"]) == ("sameway", "test")


def test_a_collector_that_is_not_there_keeps_no_server_from_its_end(
    toy_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with serving(toy_repository, "--telemetry") as server:
        assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1))).status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
    assert not [line for line in server.log if "Traceback" in line]


def test_off_nobody_observes(toy_repository: Path) -> None:
    assert process.wired_alone(Settings(repository=toy_repository)).observers == ()


def test_a_client_s_tracestate_is_not_written_into_the_log(toy_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    with serving(toy_repository, "--telemetry") as server:
        junk = {"traceparent": SAMPLED, "tracestate": "level=ERROR event=forged x,"}
        assert server.ask("GET", "/v2/nothing", headers=junk).status == 404
        assert server.stop() == 0
        assert "forged" not in "".join(server.log)
