"""A server under test is not believed: whatever it says ends in a clear error or a report, in bounded time and memory."""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

import cli
from loadtests import said
from loadtests.asked import asked_samples
from loadtests.metrics import watching
from loadtests.prepare import samples_of
from loadtests.server import FACTS_BYTES, CannotRun, Server
from tests.loadtests.faulty import METADATA
from tests.loadtests.hostile import BODIES, TRANSPORT, Say, Talk, body, endless, hostile, told

#: Of an answer without end a client takes what it reads, and what waits in the sockets' buffers.
BUFFERS_BYTES = 16 << 20

#: What is read until the time is over, and not kept.
NOT_KEPT = ("interim answers without end", "trailers without end")

X, Y = METADATA["inputs"][0], METADATA["outputs"][0]

MODELS: dict[str, Say] = {
    **TRANSPORT,
    **{name: body(data) for name, data in BODIES.items()},
    "no inputs": told({"outputs": [Y]}),
    "inputs of nothing": told({"inputs": [], "outputs": [Y]}),
    "inputs that are an object": told({"inputs": {"x": X}, "outputs": [Y]}),
    "a million inputs": told({"inputs": [{"name": "x"}] * 100_000, "outputs": [Y]}),
    "a tensor that is a text": told({"inputs": ["x"], "outputs": [Y]}),
    "names that are numbers": told({"inputs": [{**X, "name": 5}], "outputs": [Y]}),
    "names that are objects": told({"inputs": [X], "outputs": [{**Y, "name": {"a": 1}}]}),
    "names that are the same": told({"inputs": [X, X], "outputs": [Y]}),
    "a name of half a character": told({"inputs": [{**X, "name": "\ud800"}], "outputs": [Y]}),
    "a name of kilobytes": told({"inputs": [{**X, "name": "x" * 5000}], "outputs": [Y]}),
    "a datatype that is none": told({"inputs": [{**X, "datatype": "FP\x1b[2J31"}], "outputs": [Y]}),
    "a datatype that is a list": told({"inputs": [{**X, "datatype": ["FP32"]}], "outputs": [Y]}),
    "a shape that is a number": told({"inputs": [{**X, "shape": 4}], "outputs": [Y]}),
    "a shape of texts": told({"inputs": [{**X, "shape": ["2"]}], "outputs": [Y]}),
    "a shape with fractions": told({"inputs": [{**X, "shape": [1.5]}], "outputs": [Y]}),
    "a shape of truth": told({"inputs": [{**X, "shape": [True]}], "outputs": [Y]}),
    "a shape below zero": told({"inputs": [{**X, "shape": [-7]}], "outputs": [Y]}),
    "a shape of gigabytes": told({"inputs": [{**X, "shape": [1 << 30, 1 << 30]}], "outputs": [Y]}),
    "a shape of gigabytes in one": told({"inputs": [{**X, "shape": [-1, 1 << 30]}], "outputs": [Y]}),
    "a shape of exabytes": told({"inputs": [{**X, "shape": [10**4000]}], "outputs": [Y]}),
    "a shape of a thousand axes": told({"inputs": [{**X, "shape": [1] * 1000}], "outputs": [Y]}),
    "versions that are a number": told({"versions": 5, "inputs": [X], "outputs": [Y]}),
    "versions that are lists": told({"versions": [["1"]], "inputs": [X], "outputs": [Y]}),
}  # fmt: skip


def is_clear(text: str) -> bool:
    """Tell whether an error is one line that a terminal can show, and no novel."""
    return text == said.line_of(text) and len(text) < 800 and "Traceback" not in text


@pytest.mark.parametrize("name", MODELS)
def test_whatever_is_said_of_a_model_is_a_clear_error_soon(name: str, tmp_path: Path) -> None:
    with hostile(model=MODELS[name]) as server:
        started = time.monotonic()
        with pytest.raises(CannotRun) as refused:
            samples_of(Server(server.url, patience_seconds=0.5), "double", None)
        assert time.monotonic() - started < 20
    assert is_clear(said.line_of(str(refused.value)))
    if name not in NOT_KEPT:
        assert server.most_sent < FACTS_BYTES + BUFFERS_BYTES


def output(**changes: object) -> Say:
    """Return the right answer with something changed in its output."""

    def say(talk: Talk) -> None:
        answer = talk.right
        answer["outputs"][0].update(changes)
        told(answer)(talk)

    return say


def binary(size: object, *, length: str | None = None, data: bytes = b"\0" * 8) -> Say:
    """Return an answer in binary whose sizes may lie."""
    tensor = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}
    head = json.dumps({"model_name": "double", "model_version": "1", "outputs": [tensor]}).encode()
    return body(head + data, f"Inference-Header-Content-Length: {length or len(head)}")


ANSWERS: dict[str, Say] = {
    **{name: say for name, say in TRANSPORT.items() if name != "dripping"},
    **{name: body(data) for name, data in BODIES.items()},
    "outputs that are a number": told({"outputs": 5}),
    "outputs of texts": told({"outputs": ["y"]}),
    "a name that is a list": output(name=["y"]),
    "a datatype that is a list": output(datatype=["FP32"]),
    "another datatype": output(datatype="INT64", data=[1, 2]),
    "a shape that is a number": output(shape=2),
    "a shape with -1": output(shape=[-1, 2]),
    "a shape of exabytes": output(shape=[1 << 40, 1 << 40]),
    "numbers that are none": output(data=[None, True]),
    "numbers of ten thousand digits": output(data=[10**4000, 1]),
    "numbers that are objects": output(data=[{"a": 1}, {"b": 2}]),
    "a size below zero": binary(-8),
    "a size that is true": binary(True),
    "a size of exabytes": binary(1 << 62),
    "a size that is a text": binary("8"),
    "a size that is too small": binary(4),
    "a length of a head that is none": binary(8, length="many"),
    "a length of a head of exabytes": binary(8, length="9" * 30),
    "parameters that are a list": output(parameters=[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", [*ANSWERS, "dripping"])
def test_whatever_is_answered_before_the_load_is_a_clear_error(name: str) -> None:
    with hostile(infer={**ANSWERS, **TRANSPORT}[name]) as server:
        started = time.monotonic()
        with pytest.raises(CannotRun) as refused:
            asked_samples(Server(server.url, patience_seconds=0.5), "double", METADATA, count=2)
        assert time.monotonic() - started < 20
    assert is_clear(said.line_of(str(refused.value)))


METRICS: dict[str, Say] = {
    **TRANSPORT,
    **{name: body(data) for name, data in BODIES.items()},
    "not UTF-8 in a label": body(b'sameway_queue_rows{model="\xff"} 1\n'),
    "no number": body(b"sameway_queue_rows many\n"),
    "half a label": body(b'sameway_queue_rows{model="double\n'),
    "a million series": endless(b"HTTP/1.1 200 OK\r\n\r\n", b'sameway_queue_rows{model="a"} 1\n' * 1000),
    "series of ours": body(b"".join(b'sameway_queue_rows{model="%d"} 1\n' % n for n in range(5000))),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_that_are_none_are_missing_and_why(name: str) -> None:
    with hostile(metrics=METRICS[name]) as server, watching(Server(server.url, patience_seconds=0.5)) as readings:
        pass
    told_of = readings.to_json(["double"], 0.0, 1.0)
    assert set(told_of) == {"missing"}
    assert is_clear(told_of["missing"])


ODD = """\
sameway_queue_rows{model="double"} %(value)s
sameway_in_flight %(value)s
process_cpu_seconds_total %(value)s
process_resident_memory_bytes %(value)s
sameway_batch_rows_bucket{model="double",le="%(value)s"} %(value)s
sameway_batch_rows_bucket{model="double"} 5
sameway_batch_rows_bucket{model="double",le="many"} 5
sameway_batch_rows_count{model="double"} %(value)s
sameway_batch_rows_sum{model="double"} %(value)s
sameway_compute_seconds_sum{model="double"} %(value)s
sameway_model_info{model="double",format="<script>\x1b[2J",version="%(value)s",digest="d"} 1
sameway_model_info{model="double"} 1
"""


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1e300", "1e17", "0"])
def test_numbers_that_cannot_be_are_left_out_of_a_report(value: str) -> None:
    with hostile(metrics=body((ODD % {"value": value}).encode())) as server, watching(Server(server.url)) as readings:
        pass
    found = json.dumps(readings.to_json(["double"], 0.0, 1.0), allow_nan=False)
    assert "\\u001b" not in found
    assert "1e+300" not in found


def test_counters_that_fall_are_no_figures() -> None:
    pages = [body(f"process_cpu_seconds_total {cpu}\n".encode()) for cpu in (9, 3)]
    with hostile(metrics=pages) as server, watching(Server(server.url)) as readings:
        pass
    assert readings.to_json(["double"], 0.0, 1e12)["cores"] is None


#: What comes while there is load, and how each is counted.
KINDS = {
    "nothing": "lost", "half a head": "lost", "a body cut short": "lost", "dripping": "timeout",
    "a redirect": "client_error", "a page of an error": "server_error", "numbers that are objects": "malformed",
}  # fmt: skip


def headers(*lines: str) -> Say:
    return lambda talk: told(talk.right, *lines)(talk)


#: Answers that are right, with heads that are not.
RIGHT: dict[str, Say] = {
    "stages of garbage": headers("Server-Timing: ,;;=,compute;dur=NaN,queue;dur=1e400,total;dur=-5,batch;dur=abc,decode"),
    "stages twice": headers("Server-Timing: compute;dur=1", "Server-Timing: compute;dur=2"),
    "stages in bytes": headers("Server-Timing: \udcff\udcfe;dur=\udcff"),
    "cookies": headers(*(f"Set-Cookie: c{number}=1" for number in range(100))),
}


def test_whatever_is_answered_under_load_is_counted_and_the_report_is_sound(tmp_path: Path, capfd: Any) -> None:
    says = {**RIGHT, **ANSWERS, "dripping": TRANSPORT["dripping"]}
    metrics = body((ODD % {"value": "NaN"}).encode())
    identity = told({"name": "<script>alert(3)</script>\x1b[2J", "version": [1]})
    with hostile(well_behaved=65, infer=list(says.values()), metrics=metrics, identity=identity) as server:
        words = ["--users", "6", "--duration", "6", "--warm-up", "0", "--timeout", "0.3", "--report", str(tmp_path)]
        assert cli.main(["loadtest", server.url, "--model", "double", *words]) == 1
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "\x1b" not in captured.out
    report = json.loads((tmp_path / "report.json").read_text())
    (run,) = report["runs"]
    found = Counter({failure["kind"]: failure["count"] for failure in run["failures"]})
    assert set(KINDS.values()) <= set(found)
    assert run["totals"]["requests"] >= len(says)  # all of them came, and none ended the load
    assert run["stopped"] is None
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"
    # What is read of an answer without end is bounded by what the right one has.
    assert server.most_sent < BUFFERS_BYTES


def test_words_are_one_line_of_bounded_length() -> None:
    assert said.words("a\x1b[31m\n b\u202e\ud800") == "a\\x1b[31m b\\u202e\\ud800"
    assert said.words("x" * 10**6, 10) == "xxxxxxxxx…"
    assert said.words(b"\xff\xfea") == "\ufffd\ufffda"
    assert said.line_of("größer · 5 %") == "größer · 5 %"
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    assert len(said.brief(deep)) < 200
    assert len(said.brief({"a" * 10**6: "b" * 10**6})) <= 200
