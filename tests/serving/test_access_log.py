"""The access log: what is written, what is not, and that a stranger's words stay on their line."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from serving.access_log import as_json, as_text, fields, wanted
from serving.protocols.ending import Ended
from serving.request import InferResponse, Timings
from tests import toys
from tests.serving.desk import infer_body
from tests.serving.live import request, serving

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def ended(**other: object) -> Ended:
    """Return a record of an answer by a model, with other values where they are given."""
    timings = Timings(queue=0.002, join=0.0001, run=0.003, split=0.0002, queued=10.001)
    record = Ended(
        request_id="r-1",
        method="POST",
        path="/v2/models/toy/infer",
        headers={},
        address="192.0.2.1",
        client=None,
        route="/v2/models/{model}/infer",
        status=200,
        outcome="ok",
        reason="",
        bytes_in=100,
        bytes_out=200,
        model="toy",
        version="1",
        response=InferResponse("toy", 1, "d" * 64, {"y": np.zeros(4)}, None, timings, 4),
        encoding=10.007,
        received=10.0,
        ended=10.0085,
    )
    for name, value in other.items():
        setattr(record, name, value)
    return record


def test_a_line_has_what_is_known_and_nothing_else() -> None:
    assert as_text(fields(ended(), now=1_700_000_000.123)).decode() == (
        "time=2023-11-14T22:13:20.123Z request_id=r-1 address=192.0.2.1 method=POST path=/v2/models/toy/infer status=200 "
        "outcome=ok bytes_in=100 bytes_out=200 model=toy version=1 duration_ms=8.5 rows=4 decode_ms=1.0 queue_ms=2.0 "
        "batch_ms=0.3 compute_ms=3.0 encode_ms=1.5\n"
    )
    other = ended(status=404, outcome="refused", reason="not_found", model="", version="", response=None, address=None)
    assert as_text(fields(other, now=0.0)).decode() == (
        "time=1970-01-01T00:00:00.000Z request_id=r-1 method=POST path=/v2/models/toy/infer status=404 outcome=refused "
        "reason=not_found bytes_in=100 bytes_out=200 duration_ms=8.5\n"
    )


def test_json_says_the_same_with_numbers_as_numbers() -> None:
    found = fields(ended(client="team a"), now=0.0)
    line = as_json(found)
    assert line.count(b"\n") == 1
    assert json.loads(line) == found
    assert (found["client"], found["rows"], found["duration_ms"]) == ("team a", 4, 8.5)


HOSTILE = [
    "/a b", '/"', "/a=b", "/\\", "/x\r\nstatus=200", "/\x1b[31m", "/\x9b31m", "/\x7f", "/\u2028", "/é",
    "/\U0001f600", "/\ud800", "/" + "é" * 9_999, "/" + "a" * 9_999,
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_a_path_is_one_value_of_printable_ascii_whatever_is_in_it(path: str) -> None:
    found = fields(ended(path=path, method=path, address=path), now=0.0)
    for line in (as_text(found), as_json(found)):
        text = line.decode("ascii").removesuffix("\n")
        assert text.isprintable()
        assert len(text) < 1200
    words = dict(word.split("=", 1) for word in shlex.split(as_text(found).decode()))
    assert words.keys() == json.loads(as_json(found)).keys()
    assert words["path"] == json.loads(as_json(found))["path"] == found["path"]
    assert words["status"] == "200"


@pytest.mark.parametrize("before", range(12))
def test_a_cut_halves_no_escape(before: int) -> None:
    found = fields(ended(path="a" * before + "é" * 300), now=0.0)["path"]
    assert re.fullmatch(r"a*(\\u00e9)+", str(found))
    assert 250 < len(str(found)) <= 256


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (TRACEPARENT, "0af7651916cd43dd8448eb211c80319c"),
        (TRACEPARENT.replace("00-", "01-", 1) + "-later", "0af7651916cd43dd8448eb211c80319c"),
        ("00-" + "0" * 32 + "-b7ad6b7169203331-01", None),
        (TRACEPARENT.replace("00-", "ff-", 1), None),
        (TRACEPARENT.upper(), None),
        ("junk", None),
        (f"{TRACEPARENT}, {TRACEPARENT}", None),
    ],
)
def test_the_trace_is_the_client_s_where_no_tracer_says_another(header: str, trace_id: str | None) -> None:
    assert fields(ended(headers={"traceparent": header}), now=0.0).get("trace_id") == trace_id
    assert fields(ended(headers={"traceparent": header}, trace_id="ab"), now=0.0)["trace_id"] == "ab"


@pytest.mark.parametrize("status", [400, 404, 429, 499, 500, 503])
@pytest.mark.parametrize("route", ["/v2/health/ready", "/v2/models/{model}/infer"])
def test_what_went_wrong_is_written_whatever_the_share(status: int, route: str) -> None:
    assert wanted(ended(status=status, route=route), 0.0)


def test_probes_that_went_well_are_not_written() -> None:
    assert not wanted(ended(route="/v2/health/ready"), 1.0)


def test_a_share_is_that_share_and_the_same_requests_everywhere() -> None:
    chosen = [wanted(ended(request_id=f"0123456789abcdef-{number:x}"), 0.1) for number in range(20_000)]
    assert 1_700 < sum(chosen) < 2_300
    assert chosen == [wanted(ended(request_id=f"0123456789abcdef-{number:x}"), 0.1) for number in range(20_000)]
    assert not any(wanted(ended(request_id=str(number)), 0.0) for number in range(1000))
    assert all(wanted(ended(request_id=str(number)), 1.0) for number in range(1000))


@pytest.mark.parametrize("frontend", ["fastapi", "flask"])
def test_a_server_writes_one_line_per_request_and_all_by_its_end(
    toy_repository: Path, tmp_path: Path, frontend: str
) -> None:
    out = tmp_path / "access.log"
    flags = ("--frontend", frontend, "--access-log", "json", "--max-body-bytes", "5000")
    with serving(toy_repository, *flags, stdout=out) as server, server.connect() as connection:
        good = infer_body(toys.images(3))
        connection.send(request("POST", "/v2/models/toy/infer", good, "x-request-id: one", f"traceparent: {TRACEPARENT}"))
        assert connection.answer().headers["x-request-id"] == "one"
        connection.send(request("GET", "/%0d%0astatus=200%1b[2J", b"", "x-request-id: two words"))
        made = connection.answer().headers["x-request-id"]
        connection.send(request("GET", "/metrics")).answer()
        connection.send(request("HEAD", "/v2")).answer(head=True)
        assert connection.send(request("POST", "/v2/models/toy/infer", b"x" * 5001)).answer().status == 413
        assert server.stop() == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    shown = [line for line in lines if line["path"] != "/v2/health/ready"]  # asked until the answer was yes
    assert [(line["method"], line["status"], line["outcome"]) for line in shown] == [
        ("POST", 200, "ok"),
        ("GET", 404, "refused"),
        ("HEAD", 200, "ok"),
        ("POST", 413, "refused"),
    ]
    first = shown[0]
    assert (first["request_id"], first["trace_id"], first["address"]) == ("one", TRACEPARENT[3:35], "127.0.0.1")
    assert (first["model"], first["version"], first["rows"], first["bytes_in"]) == ("toy", "1", 3, len(good))
    assert sum(value for name, value in first.items() if name.endswith("_ms")) <= 2 * first["duration_ms"] + 0.01
    assert (shown[1]["request_id"], shown[1]["path"]) == (made, r"/\r\nstatus=200\u001b[2J")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])


def test_nothing_is_written_unless_it_is_asked_for(toy_repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "access.log"
    with serving(toy_repository, stdout=out) as server:
        server.ask("GET", "/nowhere")
        assert "sameway_access_log_dropped_total 0.0" in server.ask("GET", "/metrics").body.decode()
        assert server.stop() == 0
    assert out.read_bytes() == b""
