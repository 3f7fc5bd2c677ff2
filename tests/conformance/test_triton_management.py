"""tritonclient.http loads and unloads models: refused by a server that was not told to let anyone, done by one that was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from tests import toys
from tests.conformance.conftest import Servers
from tests.conformance.raw import ask
from tests.conformance.samples import IMAGES
from tests.conformance.servers import Server
from tests.conformance.verdicts import assert_error

# Any: tritonclient has no types.


@pytest.fixture
def managed(
    pytestconfig: pytest.Config, front_end: str, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, Path]:
    """A server that lets anyone load and unload, and its repository, in which a test may publish under a name of its own."""
    if pytestconfig.getoption("--url", default=None):
        pytest.skip("publishes models")
    name = f"managed, {front_end}"
    if name not in servers.notes:
        root = tmp_path_factory.mktemp("managed")
        toys.publish(root, "first")
        toys.publish(root, "second")
        toys.publish(root, "spoilt")
        servers.notes[name] = root
    root = servers.notes[name]
    return servers.get(name, "--repository", str(root), "--frontend", front_end, "--management"), root


@pytest.fixture
def client(managed: tuple[Server, Path]) -> Iterator[Any]:
    """Triton's own client."""
    with InferenceServerClient(managed[0].authority) as client:
        yield client


def _classes(client: Any, model: str) -> tuple[list[int], str]:
    """Return what a model says to the images, and which version said it."""
    result = client.infer(model, [InferInput("image", [3, 4, 4], "UINT8").set_data_from_numpy(IMAGES)])
    return result.as_numpy("class").tolist(), result.get_response()["model_version"]


def _state(client: Any, model: str) -> str:
    states: dict[str, str] = {found["name"]: found["state"] for found in client.get_model_repository_index()}
    return states[model]


def test_unload_and_load(client: Any) -> None:
    before = _classes(client, "first")
    client.unload_model("first")
    assert not client.is_model_ready("first")
    assert _state(client, "first") == "UNAVAILABLE"
    with pytest.raises(InferenceServerException) as error:
        _classes(client, "first")
    assert error.value.status() == "503"
    client.unload_model("first", unload_dependents=True)  # nothing is left to do, and that is no error
    assert client.is_model_ready("second")
    client.load_model("first")
    assert client.is_model_ready("first")
    assert _state(client, "first") == "READY"
    assert _classes(client, "first") == before


def test_a_new_version_takes_the_place_of_the_old(client: Any, managed: tuple[Server, Path]) -> None:
    _, version = _classes(client, "second")
    seed = int(version) + 10
    published = str(toys.publish(managed[1], "second", seed=seed).manifest.version)
    assert _classes(client, "second")[1] == version
    client.load_model("second")
    assert _classes(client, "second") == (toys.reference(IMAGES, seed)["class"].tolist(), published)
    assert client.get_model_metadata("second")["versions"] == [published]


def test_a_version_that_cannot_be_loaded_leaves_the_old(client: Any, managed: tuple[Server, Path]) -> None:
    before = _classes(client, "spoilt")
    published = toys.publish(managed[1], "spoilt", seed=3)
    (published.path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InferenceServerException) as error:
        client.load_model("spoilt")
    assert error.value.status() == "503"
    assert str(managed[1]) not in error.value.message()
    assert _classes(client, "spoilt") == before


def test_what_is_not_there_is_not_loaded(client: Any) -> None:
    for name in ("nobody", "..", "%2e%2e%2ffirst", "first/1"):
        with pytest.raises(InferenceServerException) as error:
            client.load_model(name)
        assert error.value.status() == "404"
        with pytest.raises(InferenceServerException) as error:
            client.unload_model(name)
        assert error.value.status() == "404"


def test_nothing_is_uploaded(client: Any) -> None:
    for options in ({"config": '{"max_batch_size": 1}'}, {"config": "{}", "files": {"file:1/model.onnx": b"a model"}}):
        with pytest.raises(InferenceServerException) as error:
            client.load_model("first", **options)
        assert error.value.status() == "400"
    assert client.is_model_ready("second")


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'{"parameters": []}', b'{"parameters": "a"}', b'{"parameters": {"unload_dependents": ']
)
def test_bodies_are_judged_here_too(managed: tuple[Server, Path], verb: str, body: bytes) -> None:
    assert_error(ask(managed[0], "POST", f"/v2/repository/models/second/{verb}", body), 400, code="malformed_request")


def test_strangers_are_refused(zoo_server: Server) -> None:
    with InferenceServerClient(zoo_server.authority) as client:
        for forbidden in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException) as error:
                forbidden("toy")
            assert error.value.status() == "403"
        assert client.is_model_ready("toy")
