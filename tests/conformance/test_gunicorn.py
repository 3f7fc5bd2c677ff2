"""`gunicorn 'serving.frontends.flask_app:create_app()'`: right answers, as promised, and no more."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from tests import toys
from tests.conformance.cases import Case
from tests.conformance.raw import ask
from tests.conformance.samples import IMAGES, SAMPLES, same
from tests.conformance.servers import Process, Server
from tests.conformance.test_hostile import TABLES
from tests.conformance.verdicts import assert_error


def _address(line: str) -> str | None:
    found = re.search(r"Listening at: (http://\S+)", line)
    return found[1] if found else None


@pytest.fixture(scope="module")
def gunicorn(pytestconfig: pytest.Config, repository: Path) -> Iterator[Server]:
    """gunicorn with its defaults: one worker, which answers one request at a time."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("starts gunicorn")
    command = ["-m", "gunicorn", "serving.frontends.flask_app:create_app()", "--bind", "127.0.0.1:0"]
    process = Process(command, started=_address, settings={"SAMEWAY_REPOSITORY": str(repository)})
    server = process.wait()
    assert ask(server, "GET", "/v2/health/ready").json() == {"ready": True}
    yield server
    assert process.stop() == 0
    assert not [line for line in process.log if "internal_error" in line or "Traceback" in line]


@pytest.mark.parametrize("datatype", SAMPLES)
def test_every_datatype(gunicorn: Server, datatype: str) -> None:
    with InferenceServerClient(gunicorn.authority) as client:
        asked = InferInput("x", [2, 3], datatype).set_data_from_numpy(SAMPLES[datatype])
        assert same(client.infer(f"identity_{datatype.lower()}", [asked]).as_numpy("y"), SAMPLES[datatype])


def test_a_classifier(gunicorn: Server) -> None:
    with InferenceServerClient(gunicorn.authority) as client:
        image = InferInput("image", [3, 4, 4], "UINT8").set_data_from_numpy(IMAGES, binary_data=False)
        found = client.infer("toy", [image], request_compression_algorithm="gzip").as_numpy("class")
    assert np.array_equal(found, toys.reference(IMAGES)["class"])


# What a path may be is for the HTTP server to say, and gunicorn says otherwise.
@pytest.mark.parametrize("table", [table for table in TABLES if table != "paths"])
def test_hostile_requests_get_the_same_answers(gunicorn: Server, table: str) -> None:
    wrong = [(case.name, problem) for case in TABLES[table] if (problem := _problem(gunicorn, case)) is not None]
    assert not wrong, wrong[:5]


def _problem(server: Server, case: Case) -> str | None:
    """Return what is not as it should be in the answer to a case."""
    try:
        answer = ask(server, case.method, case.path, None if case.method == "GET" else case.body, case.headers)
        if case.status == 200:
            assert answer.status == 200, answer.body[:500]
        else:
            assert_error(answer, case.status, code=case.code, field=case.field)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        return repr(error)[:300]
    return None
