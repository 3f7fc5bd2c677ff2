"""What all requests of a process may have inflated at once, and that it is let go with each answer."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import BodyTooLarge, MalformedRequest, ServerBusy
from serving.limits import Limits
from serving.protocols.compression import Inflater
from serving.protocols.route import Reply
from serving.protocols.waiting import Waiting
from tests import toys
from tests.serving.desk import Desk, infer_body

GZIP = {"content-encoding": "gzip"}
BODY = gzip.compress(infer_body(toys.images(1)).ljust(6_000))
INFER = "/v2/models/slow/infer"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    toys.publish(tmp_path, "slow")
    (tmp_path / "slow" / "config.toml").write_text("queue_delay_seconds = 10\ntimeout_seconds = 60")
    desk = Desk(tmp_path, limits=Limits(inflated_bytes=8_000, bodies_bytes=10_000))
    yield desk
    assert desk.value("sameway_in_flight") == 0
    desk.close()


def test_what_is_inflated_counts_until_it_is_answered(desk: Desk) -> None:
    first = desk.begin("POST", INFER, BODY, GZIP)
    assert isinstance(first, Waiting)
    second = desk.begin("POST", INFER, BODY, GZIP)
    assert isinstance(second, Reply)
    assert second.status == 503
    first.abandoned()
    third = desk.begin("POST", INFER, BODY, GZIP)
    assert isinstance(third, Waiting)
    third.abandoned()


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index", "/v2/health/live", "/nowhere"])
def test_what_failed_or_was_answered_at_once_holds_nothing(desk: Desk, path: str) -> None:
    for _ in range(5):
        status = desk.ask("POST", path, gzip.compress(b"{".ljust(6_000)), GZIP).status
        assert status in (400, 404, 405)


def test_nothing_is_inflated_for_a_model_that_is_not_there(desk: Desk) -> None:
    assert desk.ask("POST", "/v2/models/unknown/infer", b"no gzip", GZIP).status == 404


def test_a_stream_that_is_refused_holds_nothing() -> None:
    inflater = Inflater(each=100, together=150)
    for _ in range(3):
        with pytest.raises(BodyTooLarge):
            inflater.inflate(gzip.compress(bytes(101)), "gzip")
        with pytest.raises(MalformedRequest):
            inflater.inflate(gzip.compress(bytes(100)) + b"rest", "gzip")
    body, held = inflater.inflate(gzip.compress(bytes(100)), "gzip")
    assert (len(body), held) == (100, 100)
    with pytest.raises(ServerBusy):
        inflater.inflate(gzip.compress(bytes(100)), "gzip")
    assert inflater.inflate(b"plain", "identity") == (b"plain", 0)
    inflater.let_go(held)
    assert inflater.inflate(gzip.compress(bytes(100)), "gzip")[1] == 100
