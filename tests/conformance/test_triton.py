"""tritonclient.http asks the server about itself and its models; nothing is sent to a model but to be counted."""

from collections.abc import Iterator

import pytest
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from models.tensors import DTYPES
from tests.conformance.samples import IMAGES
from tests.conformance.servers import Server


@pytest.fixture
def client(zoo_server: Server) -> Iterator[InferenceServerClient]:
    """Triton's own client."""
    with InferenceServerClient(zoo_server.authority) as client:
        yield client


def test_health(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert client.is_model_ready("toy", "1")
    assert not client.is_model_ready("toy", "2")
    assert not client.is_model_ready("absent")
    assert not client.is_model_ready("nobody")


def test_server_metadata(client: InferenceServerClient) -> None:
    metadata = client.get_server_metadata()
    assert metadata["name"] == "sameway"
    assert metadata["version"]
    assert {
        "binary_tensor_data", "classification", "model_configuration", "model_repository", "parameters", "statistics",
        "model_repository(unload_dependents)", "schedule_policy",
    } == set(metadata["extensions"])  # fmt: skip


@pytest.mark.parametrize("version", ["", "1"])
def test_model_metadata(client: InferenceServerClient, version: str) -> None:
    assert client.get_model_metadata("toy", version) == {
        "name": "toy",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "class", "datatype": "INT64", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize("datatype", DTYPES)
def test_metadata_of_every_datatype(client: InferenceServerClient, datatype: str) -> None:
    metadata = client.get_model_metadata(f"identity_{datatype.lower()}")
    assert metadata["inputs"] == [{"name": "x", "datatype": datatype, "shape": [-1, -1]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": datatype, "shape": [-1, -1]}]


def test_metadata_without_a_batch_axis(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("state")
    assert {spec["name"]: spec["shape"] for spec in metadata["inputs"]} == {"state": [2, -1, 4], "gain": []}
    assert client.get_model_config("state")["max_batch_size"] == 0
    assert "dynamic_batching" not in client.get_model_config("state")


@pytest.mark.parametrize("version", ["", "1"])
def test_model_configuration(client: InferenceServerClient, version: str) -> None:
    """What perf_analyzer reads before it sends anything."""
    config = client.get_model_config("toy", version)
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("toy", "onnx_onnxv1", 8)
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [4, 4]}]
    assert [(spec["name"], spec["data_type"], spec["dims"]) for spec in config["output"]] == [
        ("probabilities", "TYPE_FP32", [3]),
        ("class", "TYPE_INT64", []),
    ]
    assert "dynamic_batching" in config
    assert config["response_cache"] == {"enable": False}
    assert client.get_model_config("identity_bytes")["input"][0]["data_type"] == "TYPE_STRING"


def test_statistics_count_rows_and_batches(client: InferenceServerClient) -> None:
    def counted() -> dict[str, int]:
        (found,) = client.get_inference_statistics("toy", "1")["model_stats"]
        assert (found["name"], found["version"]) == ("toy", "1")
        stages = found["inference_stats"]
        assert all({"count", "ns"} == duration.keys() for duration in stages.values())
        assert {
            "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
        } == stages.keys()  # fmt: skip
        for batch in found["batch_stats"]:
            assert {"batch_size", "compute_input", "compute_infer", "compute_output"} == batch.keys()
        return {
            "rows": found["inference_count"],
            "batches": found["execution_count"],
            "success": stages["success"]["count"],
            "last": found["last_inference"],
        }

    before = counted()
    image = InferInput("image", [3, 4, 4], "UINT8").set_data_from_numpy(IMAGES)
    client.infer("toy", [image])
    after = counted()
    # Others may ask it too, as the suite runs on several processes against one server under --url.
    assert after["rows"] >= before["rows"] + 3
    assert after["batches"] > before["batches"]
    assert after["success"] > before["success"]
    assert after["last"] >= before["last"] > -1
    assert after["last"] > 1_600_000_000_000  # milliseconds


def test_statistics_of_all(client: InferenceServerClient) -> None:
    names = {found["name"] for found in client.get_inference_statistics()["model_stats"]}
    assert {"toy", "pair", "state", "identity_bf16"} <= names


def test_index(client: InferenceServerClient) -> None:
    models = {model["name"]: model for model in client.get_model_repository_index()}
    assert models["toy"] == {"name": "toy", "version": "1", "state": "READY", "reason": "", "verified": True}
    assert models["absent"]["state"] == "UNAVAILABLE"
    assert models["absent"]["reason"]


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda client: client.get_model_metadata("nobody"), "404"),
        (lambda client: client.get_model_metadata("toy", "2"), "404"),
        (lambda client: client.get_model_metadata("toy", "two"), "404"),
        (lambda client: client.get_model_config("nobody"), "404"),
        (lambda client: client.get_inference_statistics("nobody"), "404"),
        (lambda client: client.get_model_metadata("absent"), "503"),
        (lambda client: client.load_model("toy"), "403"),
        (lambda client: client.unload_model("toy"), "403"),
        (lambda client: client.get_trace_settings(), "404"),
        (lambda client: client.get_log_settings(), "404"),
        (lambda client: client.get_system_shared_memory_status(), "404"),
        (lambda client: client.register_cuda_shared_memory("r", b"", 0, 1), "404"),
    ],
)
def test_errors_are_the_clients_own(client: InferenceServerClient, ask: object, status: str) -> None:
    assert callable(ask)
    with pytest.raises(InferenceServerException) as error:
        ask(client)
    assert error.value.status() == status
    # A body that the client cannot read ends in a message about the client.
    assert "decoding the response" not in error.value.message()
    assert error.value.message()
