"""Flask without our edge, as gunicorn runs it: it reads the body itself, and only what may come."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.frontends.flask_app import create_app
from tests import toys
from tests.serving import credentials
from tests.serving.desk import infer_body

PATH = "/v2/models/toy/infer"


@pytest.fixture
def client(toy_repository: Path, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("SAMEWAY_REPOSITORY", str(toy_repository))
    monkeypatch.setenv("SAMEWAY_MAX_BODY_BYTES", "2000")
    return create_app().test_client()


def test_a_body_within_the_limit_is_answered(client: FlaskClient) -> None:
    assert client.post(PATH, data=infer_body(toys.images(1))).status_code == 200


def test_a_body_beyond_the_limit_is_told_so_in_our_own_words(client: FlaskClient) -> None:
    answer = client.post(PATH, data=bytes(2001))
    assert (answer.status_code, json.loads(answer.data)["code"]) == (413, "body_too_large")
    assert json.loads(answer.data)["expected"] == "at most 2000 bytes"
    assert answer.headers["x-request-id"]


def test_without_a_key_no_body_is_read(toy_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEWAY_REPOSITORY", str(toy_repository))
    monkeypatch.setenv("SAMEWAY_MAX_BODY_BYTES", "2000")
    monkeypatch.setenv("SAMEWAY_KEYS", str(credentials.write(tmp_path)))
    client = create_app().test_client()
    assert client.post(PATH, data=bytes(2001)).status_code == 401
    assert client.post(PATH, data=bytes(2001), headers=credentials.bearer("predict")).status_code == 413
