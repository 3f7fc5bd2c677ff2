"""Every hostile request is answered as it should be, alone, and the next honest one is as if nothing had been."""

import pytest

from tests.conformance import hostile_binary, hostile_coding, hostile_images, hostile_json, hostile_paths, hostile_values
from tests.conformance.cases import Case
from tests.conformance.raw import Connection, ask, request
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_error, assert_honest

TABLES = {
    "json": hostile_json.CASES,
    "values": hostile_values.CASES,
    "binary": hostile_binary.CASES,
    "coding": hostile_coding.CASES,
    "images": hostile_images.CASES,
    "paths": hostile_paths.CASES,
}
CASES = [pytest.param(case, id=f"{table}: {case}") for table, cases in TABLES.items() for case in cases]


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_request_is_answered_as_it_should_be(zoo_server: Server, case: Case) -> None:
    body = None if case.method == "GET" else case.body
    with Connection(zoo_server) as connection:
        connection.send_while_taken(request(case.method, case.path, body, case.headers))
        answer = connection.answer()
        if case.status == 200:
            assert answer.status == 200, answer.body[:500]
        else:
            assert_error(answer, case.status, code=case.code, field=case.field)
        # A client's mistake in a whole request costs it that request and not its connection.
        assert not answer.closes
        assert_honest(zoo_server, connection)
    assert_honest(zoo_server)


def test_the_tables_name_each_case_once() -> None:
    for table, cases in TABLES.items():
        names = [case.name for case in cases]
        assert len(set(names)) == len(names), table


def test_metrics_have_no_words_of_strangers(own_server: Server) -> None:
    for name in ("a-stranger", "toy%22%7D", "toy%0Asameway_total"):
        for path in (f"/v2/models/{name}/infer", f"/predict/{name}", f"/v2/models/toy/versions/{name}/infer"):
            assert_error(ask(own_server, "POST", path, b"{}"), 404)
    text = ask(own_server, "GET", "/metrics").body.decode()
    assert "stranger" not in text
    assert "toy\\" not in text


def test_nothing_is_left_in_flight(own_server: Server) -> None:
    text = ask(own_server, "GET", "/metrics").body.decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert figures["sameway_in_flight"] == "0.0"
