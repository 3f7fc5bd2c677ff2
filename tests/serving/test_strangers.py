"""A repository as another server left it, served: each model for what it is, through a real server and Triton's client."""

import json
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from models.tensors import Array
from tests import toys
from tests.serving import strangers
from tests.serving.live import LiveServer, serving
from tests.serving.sessions import PATIENCE

TORCH = """
backend: "pytorch"
max_batch_size: 4
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] } ]
input [
  { name: "INPUT__1" data_type: TYPE_FP32 dims: [ 2 ] },  # by position, whatever the order here
  { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 2 ] }
]
"""

CONFIGURED = """
name: "configured"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { count: 2 kind: KIND_GPU } ]
dynamic_batching { max_queue_delay_microseconds: 1000 preferred_batch_size: [ 8 ] }
optimization { graph { level: 1 } }
default_model_filename: "net.onnx"
version_policy: { specific { versions: [ 2 ] } }
"""


def write_torchscript(path: Path) -> None:
    """Write x - y, a lone tensor, as TorchScript."""
    import torch

    class Difference(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x - y

    path.parent.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        torch.jit.trace(Difference(), (torch.zeros(1, 2), torch.zeros(1, 2))).save(path)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("triton")
    strangers.put(root, "plain", strangers.double())
    strangers.put(root, "total", strangers.add_total())
    strangers.put(root, "recurrent", strangers.recurrent())
    strangers.put(root, "texts", strangers.texts())
    strangers.put(root, "configured", strangers.double(), config=CONFIGURED, version=2, file="net.onnx")
    strangers.put(root, "corrupt", b"garbage" * 100)
    linked = strangers.put(root, "linked", strangers.double())
    linked.rename(root / "elsewhere")
    linked.symlink_to(root / "elsewhere")
    os.mkfifo(strangers.put(root, "pipe", b"", file="other").with_name("model.onnx"))
    strangers.put(root, "forest", b"", config='backend: "fil"', file="checkpoint.tl")
    (root / "torch").mkdir()
    (root / "torch" / "config.pbtxt").write_text(TORCH)
    write_torchscript(root / "torch" / "1" / "model.pt")
    write_torchscript(root / "bare" / "1" / "model.pt")
    toys.publish(root, "damaged").path.joinpath("manifest.json").write_text("{")
    toys.publish(root, "toy")
    return root


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[LiveServer]:
    with serving(repository, "--trust-torchscript") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Any]:  # Any: tritonclient is not typed
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def ask(client: Any, model: str, inputs: dict[str, Array], datatype: str = "FP32") -> Any:
    given = []
    for name, array in inputs.items():
        given.append(triton.InferInput(name, list(array.shape), datatype))
        given[-1].set_data_from_numpy(array)
    return client.infer(model, given)


def index(server: LiveServer) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in server.ask("POST", "/v2/repository/index").json()}


def batching(server: LiveServer, model: str) -> tuple[int, str]:
    """Return the largest batch of a model, and the word for how it was found."""
    config = server.ask("GET", f"/v2/models/{model}/config").json()
    return config["max_batch_size"], config["parameters"]["batching"]["string_value"]


@pytest.mark.parametrize(
    ("model", "rows", "word"),
    [
        ("plain", 32, "probed"),
        ("total", 0, "alone"),
        ("recurrent", 0, "alone"),
        ("texts", 32, "probed"),
        ("configured", 16, "configured"),
        ("torch", 4, "configured"),
        ("toy", 8, "manifest"),
    ],
)
def test_each_model_is_batched_for_a_reason_that_index_and_config_say(
    server: LiveServer, model: str, rows: int, word: str
) -> None:
    assert batching(server, model) == (rows, word)
    line = index(server)[model]
    assert (line["state"], line["verified"]) == ("READY", model == "toy")
    if model == "toy":
        assert line["reason"] == ""
    else:
        assert line["reason"].startswith(f"unverified: no manifest, replay: none; batching: {word}, ")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("corrupt", "model.onnx: ONNX Runtime cannot open it"),
        ("linked", "model.onnx: expected a regular file"),
        ("pipe", "model.onnx: expected a regular file"),
        ("forest", "expected a backend of onnxruntime_onnx, onnxruntime, pytorch_libtorch, pytorch, found 'fil'"),
        ("bare", "config.pbtxt: expected the inputs and outputs, which model.pt does not tell"),
        ("damaged", "manifest.json"),
    ],
)
def test_what_cannot_be_served_says_why_and_leaves_the_others_alone(
    server: LiveServer, repository: Path, model: str, why: str
) -> None:
    line = index(server)[model]
    assert line["state"] == "UNAVAILABLE"
    assert why in line["reason"]
    assert str(repository) not in line["reason"], "clients may read the reason"
    assert "verified" not in line
    assert server.ask("GET", f"/v2/models/{model}/ready").status == 503


def test_metadata_are_those_of_the_file(client: Any) -> None:
    found = client.get_model_metadata("recurrent")
    assert found["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "state", "datatype": "FP32", "shape": [2, -1, 3]},
    ]
    assert client.get_model_metadata("texts")["inputs"] == [{"name": "x", "datatype": "BYTES", "shape": [-1, 2]}]
    assert client.get_model_metadata("configured")["versions"] == ["2"]


def test_answers_are_those_of_the_model(client: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for model in ("plain", "configured"):
        np.testing.assert_array_equal(ask(client, model, {"x": x}).as_numpy("y"), x + x)
    state = np.ones((2, 2, 3), np.float32)
    stepped = ask(client, "recurrent", {"x": x, "state": state})
    np.testing.assert_array_equal(stepped.as_numpy("next"), state + x)
    words = np.array([["ä", "b"], ["", "c d"]], dtype=object)
    found = ask(client, "texts", {"x": words}, "BYTES").as_numpy("y")
    assert [[text.decode() for text in row] for row in found] == words.tolist()
    first, second = np.array([[5, 7]], np.float32), np.array([[1, 2]], np.float32)
    torch = ask(client, "torch", {"INPUT__0": first, "INPUT__1": second})
    np.testing.assert_array_equal(torch.as_numpy("OUTPUT__0"), first - second)
    wide = torch = ask(client, "torch", {"INPUT__0": np.tile(first, (4, 1)), "INPUT__1": np.tile(second, (4, 1))})
    assert wide.as_numpy("OUTPUT__0").shape == (4, 2)


def test_every_client_of_a_model_that_sums_its_rows_gets_its_own_answer(server: LiveServer) -> None:
    """As many requests at once as would surely be batched, each with an answer that only its own rows give."""
    wrong: list[object] = []

    def client(number: int) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
            for turn in range(20):
                x = np.full((1 + turn % 3, 3), number * 1000 + turn, np.float32)
                found = ask(connected, "total", {"x": x}).as_numpy("y")
                if not np.array_equal(found, x + x.sum(axis=0, keepdims=True)):
                    wrong.append((number, turn, found))

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong
    assert server.value("sameway_batch_rows_bucket", model="total", le="1.0") == 80


def test_an_answer_says_that_nobody_vouches_for_its_model(server: LiveServer) -> None:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    answer = server.ask("POST", "/v2/models/plain/infer", json.dumps(body).encode())
    assert answer.headers["sameway-version"].startswith("plain/1 sha256:")
    assert answer.headers["sameway-version"].endswith(" unverified")
    digest = answer.headers["sameway-version"].split(" ")[1].removeprefix("sha256:")
    plain = server.value("sameway_model_info", model="plain", version="1", format="onnx", digest=digest, verified="false")
    assert plain == 1
    assert server.value("sameway_model_info", model="toy", verified="true") == 1


def test_the_description_of_the_api_has_no_example_where_none_is_known(server: LiveServer) -> None:
    document = server.ask("GET", "/openapi.json").json()
    content = document["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"].keys() == {"toy"}


def test_an_image_is_refused_by_a_model_that_takes_tensors(server: LiveServer) -> None:
    answer = server.ask("POST", "/predict/plain", b"\x89PNG")
    assert (answer.status, answer.json()["code"]) == (400, "unsupported")


def test_what_has_no_counterpart_is_named_once_and_the_rest_is_followed(server: LiveServer) -> None:
    lines = [line for line in server.log if "event=config_ignored" in line]
    assert len(lines) == 1
    assert "level=WARNING" in lines[0]
    assert "model=configured" in lines[0]
    for field in ("optimization", "instance_group.kind (KIND_GPU", "dynamic_batching.preferred_batch_size"):
        assert field in lines[0]
    config = server.ask("GET", "/v2/models/configured/config").json()
    assert config["instance_group"][0]["count"] == 2
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 1000


def test_torchscript_is_not_opened_without_consent_and_nothing_without_a_manifest_where_one_is_required(
    repository: Path,
) -> None:
    with serving(repository, "--models", "torch,toy") as cautious:
        assert "start the server with --trust-torchscript" in index(cautious)["torch"]["reason"]
        assert index(cautious)["torch"]["state"] == "UNAVAILABLE"
    with serving(repository, "--trust-torchscript", "--require-manifest") as strict:
        states = {name: line["state"] for name, line in index(strict).items()}
        assert {name for name, state in states.items() if state == "READY"} == {"toy"}
        assert "manifest.json: No such file" in index(strict)["plain"]["reason"]
