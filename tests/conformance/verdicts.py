"""What every error and every answer of this server has to look like, whatever it was asked."""

import re
from collections.abc import Mapping

from tests.conformance.raw import Answer, Connection, ask, infer_body, request
from tests.conformance.servers import Server

#: Words that only somebody who knows the inside of the server could say to a client.
_INTERNALS = re.compile(
    r"Traceback|File \"|line \d+, in |site-packages|\.py\b|<class |<function|object at 0x|/tmp/|/home/|/usr/|"
    r"Error\(|Exception|onnxruntime|ONNXRuntime|OrtValue|numpy|ndarray|dtype\(|memoryview|concurrent\.futures"
)
_KEYS = {"error", "code", "field", "expected", "found"}
#: A message is for people; it does not send a client's request back to it.
_MESSAGE_CHARACTERS = 1000

#: Asked between hostile requests: any model of the suite would do.
HONEST = "/v2/models/identity_int64/infer"
HONEST_BODY = infer_body("x", "INT64", [2, 2], [1, -2, 2**62, 4])


def assert_error(answer: Answer, status: int, *, code: str | None = None, field: str | None = None) -> Mapping[str, str]:
    """Check that an answer is an error as every layer has to send it, and return its body."""
    assert answer.status == status, (answer.status, answer.body[:500])
    return assert_error_body(answer, code=code, field=field)


def assert_error_body(answer: Answer, *, code: str | None = None, field: str | None = None) -> Mapping[str, str]:
    """Check the body of an error: its keys, their types, and that nothing internal is in it."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert isinstance(body, dict)
    assert {"error", "code"} <= body.keys() <= _KEYS, body
    assert all(isinstance(value, str) for value in body.values()), body
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", body["code"]), body
    assert body["error"]
    for value in body.values():
        assert len(value) <= _MESSAGE_CHARACTERS, body
        assert not _INTERNALS.search(value), body
    if code is not None:
        assert body["code"] == code, body
    if field is not None:
        # The field may be named with its place, `inputs[0].name`: what matters is that it is told.
        assert body.get("field", "").startswith(field), body
        assert body.get("expected"), body
        assert body.get("found"), body
        assert body["expected"] in body["error"], body
    return body


def assert_honest(server: Server, connection: Connection | None = None) -> None:
    """Check that the server answers an honest request: on a new connection, or on this one."""
    if connection is None:
        answer = ask(server, "POST", HONEST, HONEST_BODY)
    else:
        connection.send(request("POST", HONEST, HONEST_BODY))
        answer = connection.answer()
    assert answer.status == 200, answer.body[:500]
    assert answer.json()["outputs"][0]["data"] == [1, -2, 2**62, 4]
