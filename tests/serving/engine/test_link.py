import socket

import pytest

from serving.engine.link import Link, error_from_json, error_to_json
from serving.errors import ModelNotFound, ModelNotReady, Overloaded


def test_messages_arrive_whole_and_in_order_and_the_end_ends_the_reading() -> None:
    ours, theirs = (Link(end) for end in socket.socketpair())
    for number in range(3):
        assert ours.send(do="prepare", id=number, model="ü" * 10_000)
    ours.close()
    found = list(theirs.receive())
    assert [message["id"] for message in found] == [0, 1, 2]
    assert found[0]["model"] == "ü" * 10_000
    theirs.close()


def test_sending_to_nobody_is_told() -> None:
    ours, theirs = (Link(end) for end in socket.socketpair())
    theirs.close()
    assert not ours.send(say="loaded") or not ours.send(say="loaded")
    ours.close()


def test_half_a_line_of_a_killed_process_is_no_message() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b'{"say": "loaded"}\n{"say": "do')
    ours.close()
    link = Link(theirs)
    assert list(link.receive()) == [{"say": "loaded"}]
    link.close()


@pytest.mark.parametrize(
    "error", [ModelNotFound("no such model"), ModelNotReady("loading", retry_after_seconds=2), Overloaded("full")]
)
def test_an_error_crosses_with_its_class_and_its_words(error: Exception) -> None:
    found = error_from_json(error_to_json(error))
    assert found is not None
    assert str(found) == str(error)
    assert type(found) is (ModelNotReady if isinstance(error, Overloaded) else type(error))
    assert found.retry_after_seconds == error.retry_after_seconds  # type: ignore[attr-defined]


def test_a_fault_of_ours_crosses_without_its_words() -> None:
    found = error_from_json(error_to_json(ZeroDivisionError("secret")))
    assert isinstance(found, ModelNotReady)
    assert "secret" not in str(found)
    assert error_from_json(error_to_json(None)) is None
