import re
from http import HTTPStatus

import pytest

from serving.errors import Cancelled, InvalidInput, ModelNotReady, ServingError

#: The names of gRPC's status codes: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
GRPC_CODES = {
    "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "UNAUTHENTICATED",
}  # fmt: skip


def every_error() -> list[type[ServingError]]:
    found = list(ServingError.__subclasses__())
    for kind in found:
        found += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_names_its_statuses_and_its_code(kind: type[ServingError]) -> None:
    assert kind is Cancelled or HTTPStatus(kind.http_status) in range(400, 600)
    assert kind.grpc_status is None or kind.grpc_status in GRPC_CODES
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert kind.code.replace("_", "") == kind.__name__.lower()
    assert kind.__doc__


def test_codes_are_all_different() -> None:
    codes = [kind.code for kind in every_error()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_outcome_is_refused_below_500_and_failed_from_there(kind: type[ServingError]) -> None:
    expected = "cancelled" if kind is Cancelled else "refused" if kind.http_status < 500 else "failed"
    assert kind("words").outcome == expected


def test_an_error_at_a_field_says_what_was_expected_and_found() -> None:
    error = InvalidInput.at("x.shape", expected="[2]", found="[3]")
    assert error.to_json() == {
        "error": "x.shape: expected [2], found [3]",
        "code": "invalid_input",
        "field": "x.shape",
        "expected": "[2]",
        "found": "[3]",
    }


def test_an_error_without_a_field_has_none_on_the_wire() -> None:
    assert ModelNotReady("not yet", retry_after_seconds=1).to_json() == {"error": "not yet", "code": "model_not_ready"}
