"""Requests answered together are answered as each would be alone, and counted as each would be."""

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.tensors import Array
from serving.access import Access
from serving.engine.served import ServedVersion
from serving.errors import Unsupported
from serving.protocols import v2_response
from serving.protocols.ending import Ended
from serving.protocols.route import HttpRequest, Reply
from serving.protocols.waiting import Waiting
from tests import toys
from tests.serving import credentials, graphs
from tests.serving.desk import Desk, infer_body

INFER = "/v2/models/toy/infer"


class Notes:
    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def finished(self, ended: Ended) -> None:
        self.ended.append(ended)

    def close(self) -> None:
        pass


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def desk(tmp_path: Path, notes: Notes) -> Iterator[Desk]:
    toys.publish(tmp_path)
    graphs.publish_square_root(tmp_path)
    desk = Desk(tmp_path, observers=[notes])
    yield warm(desk)
    desk.close()


def warm(desk: Desk, headers: dict[str, str] | None = None) -> Desk:
    """Let the toy be known as cheap, then lend this thread."""
    for _ in range(16):
        assert desk.ask("POST", INFER, infer_body(toys.images(1)), headers).status == 200
    desk.dispatcher.lend(lambda run: run())
    assert desk.engine.cheap_rows("toy", 1) > 0
    return desk


def request(body: bytes, path: str = INFER, headers: dict[str, str] | None = None) -> HttpRequest:
    return HttpRequest("POST", path, headers or {}, body, time.monotonic())


def image(number: int) -> Array:
    pixels = toys.images(1).copy()
    pixels.flat[0] = number
    return pixels


def body(number: int, **fields: object) -> bytes:
    return infer_body(image(number), id=f"{number}", **fields)


def together(desk: Desk, requests: list[HttpRequest]) -> tuple[list[Reply], int]:
    """Return the replies to all of them, and how many turns it took."""
    replies: list[Reply] = []
    turns = 0
    while len(replies) < len(requests):
        found = desk.dispatcher.handle_several(requests[len(replies) :])
        assert found, "at least one is answered"
        replies += [desk.end(one) if isinstance(one, Waiting) else one for one in found]
        turns += 1
    return replies, turns


def said(reply: Reply) -> tuple[int, bytes, str, list[str]]:
    """Return what a reply says, without times and the id that the server gives."""
    headers = [name if name in ("server-timing", "x-request-id") else f"{name}: {value}" for name, value in reply.headers]
    return reply.status, re.sub(rb"takes [\d.]+", b"", reply.body), reply.media_type, headers


NESTED = {"name": "image", "datatype": "UINT8", "shape": [1, 4, 4]}
KINDS: dict[str, Callable[[int], HttpRequest]] = {
    "json": lambda number: request(body(number)),
    "nested": lambda number: request(
        json.dumps(
            {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 4, 4], "data": image(number).tolist()}]}
        ).encode()
    ),
    "some outputs": lambda number: request(body(number, outputs=[{"name": "class"}])),
    "outputs in another order": lambda number: request(body(number, outputs=[{"name": "class"}, {"name": "probabilities"}])),
    "classes": lambda number: request(
        body(number, outputs=[{"name": "probabilities", "parameters": {"classification": 2}}])
    ),
    "binary output": lambda number: request(body(number, parameters={"binary_data_output": True})),
    "own timeout": lambda number: request(body(number, parameters={"timeout": 5_000_000})),
    "priority": lambda number: request(body(number, parameters={"priority": 1})),
    "no JSON": lambda _: request(b"{"),
    "wrong shape": lambda _: request(infer_body(toys.images(1)[:, :2])),
    "too many rows": lambda _: request(infer_body(toys.images(64))),
    "no such output": lambda number: request(body(number, outputs=[{"name": "none"}])),
    "compressed": lambda number: request(gzip.compress(body(number)), headers={"content-encoding": "gzip"}),
    "badly compressed": lambda number: request(body(number), headers={"content-encoding": "gzip"}),
    "own id": lambda number: request(body(number), headers={"x-request-id": f"own-{number}"}),
}


def test_each_is_told_what_it_would_be_told_alone_and_counted_so(desk: Desk, notes: Notes) -> None:
    make = [kind for kind in KINDS.values() for _ in range(2)]
    alone = [desk.end(desk.dispatcher.handle(one(number))) for number, one in enumerate(make)]
    counted, told = desk.outcomes(), list(notes.ended)
    notes.ended.clear()
    replies, _ = together(desk, [one(number) for number, one in enumerate(make)])
    assert [said(reply) for reply in replies] == [said(reply) for reply in alone]
    again = desk.outcomes()
    first = {key: counted[key] - (16 if key[2] == "ok" else 0) for key in counted}
    assert {key: again[key] - counted[key] for key in again} == first
    assert desk.value("sameway_in_flight") == 0
    rest = ("status", "outcome", "reason", "model", "version", "route", "bytes_out")
    last = told[-len(make) :]
    assert sorted(tuple(str(getattr(one, name)) for name in rest) for one in notes.ended) == sorted(
        tuple(str(getattr(one, name)) for name in rest) for one in last
    )


def test_many_are_one_batch(desk: Desk) -> None:
    rows = desk.engine.cheap_rows("toy", 1)
    replies, turns = together(desk, [request(body(number)) for number in range(3 * rows)])
    assert turns == 3
    for number, reply in enumerate(replies):
        told = json.loads(reply.body)
        assert told["id"] == f"{number}"
        (found,) = [one["data"] for one in told["outputs"] if one["name"] == "probabilities"]
        np.testing.assert_allclose(found, toys.reference(image(number))["probabilities"].ravel(), rtol=0, atol=1e-5)
    (statistics,) = desk.engine.statistics("toy")
    assert statistics.inference_count == 16 + 3 * rows
    assert statistics.execution_count == 16 + 3


def test_a_thread_that_has_not_lent_itself_computes_nothing(desk: Desk) -> None:
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.extend(desk.dispatcher.handle_several([request(body(1)), request(body(2))]))
    )
    thread.start()
    thread.join()
    assert [type(one) for one in found] == [Waiting, Waiting]
    for one in found:
        assert isinstance(one, Waiting)
        assert desk.end(one).status == 200


def test_of_a_model_that_is_not_there_each_is_told_so(desk: Desk) -> None:
    replies, _ = together(desk, [request(body(number), "/v2/models/none/infer") for number in range(3)])
    assert [reply.status for reply in replies] == [404] * 3
    assert desk.value("sameway_in_flight") == 0


def test_where_the_backend_fails_for_one_the_others_have_their_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    served = desk.engine._life.table.find("toy", 1)
    assert isinstance(served, ServedVersion)
    session = served._instances[0]._session
    run = session.run

    def fail(inputs):  # type: ignore[no-untyped-def]
        if np.any(inputs["image"][:, 0, 0] == 13):
            raise RuntimeError("unlucky")
        return run(inputs)

    monkeypatch.setattr(session, "run", fail)
    replies, _ = together(desk, [request(body(number)) for number in (12, 13, 14)])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert desk.value("sameway_in_flight") == 0


def test_one_whose_time_is_over_is_not_answered_late(desk: Desk) -> None:
    late = request(body(1))
    late.received -= 3600
    replies, _ = together(desk, [request(body(2)), late, request(body(3))])
    assert [reply.status for reply in replies] == [200, 504, 200]


def test_places_of_a_key_are_given_back(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    desk = Desk(tmp_path, access=Access(credentials.known(concurrent=2)))
    headers = credentials.bearer("predict")
    warm(desk, headers)
    for _ in range(3):
        replies, _ = together(desk, [request(body(number), headers=headers) for number in range(5)])
        assert [reply.status for reply in replies] == [200] * 5, "whoever computes at once holds no place"
    nobody, _ = together(desk, [request(body(1), headers=credentials.bearer("observe")), request(body(2), headers=headers)])
    assert [reply.status for reply in nobody] == [403, 200]
    desk.close()


@pytest.mark.parametrize(("error", "status"), [(Unsupported("not in JSON"), 400), (ValueError("a fault of ours"), 500)])
def test_one_that_was_computed_and_cannot_be_told_is_not_computed_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    encode = v2_response.encode

    def fail(response, *others):  # type: ignore[no-untyped-def]
        if response.id == "2":
            raise error
        return encode(response, *others)

    monkeypatch.setattr(v2_response, "encode", fail)
    replies, _ = together(desk, [request(body(number)) for number in (1, 2, 3)])
    assert [reply.status for reply in replies] == [200, status, 200]
    (statistics,) = desk.engine.statistics("toy")
    assert (statistics.inference_count, statistics.execution_count) == (16 + 3, 16 + 1)
    assert desk.value("sameway_in_flight") == 0
    assert sum(desk.outcomes().values()) == 16 + 3
