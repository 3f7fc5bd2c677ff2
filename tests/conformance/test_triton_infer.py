"""tritonclient.http, sync: tensors of every datatype as JSON and as bytes, and everything that a request can say of them."""

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from models.tensors import Array
from tests import toys
from tests.conformance.samples import BYTES_ONLY, IMAGES, SAMPLES, STRANGE, same
from tests.conformance.servers import Server

# Any: tritonclient has no types.
Options = dict[str, Any]


@pytest.fixture
def client(zoo_server: Server) -> Iterator[InferenceServerClient]:
    """Triton's own client."""
    with InferenceServerClient(zoo_server.authority) as client:
        yield client


def _input(name: str, datatype: str, array: Array, *, binary: bool = True) -> InferInput:
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def _identity(client: InferenceServerClient, datatype: str, array: Array, **options: object) -> InferResult:
    """Ask the identity of a datatype for the array."""
    binary = bool(options.pop("binary", True))
    return client.infer(f"identity_{datatype.lower()}", [_input("x", datatype, array, binary=binary)], **options)


@pytest.mark.parametrize("out_binary", [True, False])
@pytest.mark.parametrize("in_binary", [True, False])
@pytest.mark.parametrize("datatype", [name for name in SAMPLES if name not in BYTES_ONLY])
def test_every_datatype(client: InferenceServerClient, datatype: str, in_binary: bool, out_binary: bool) -> None:
    outputs = [InferRequestedOutput("y", binary_data=out_binary)]
    result = _identity(client, datatype, SAMPLES[datatype], binary=in_binary, outputs=outputs)
    assert same(result.as_numpy("y"), SAMPLES[datatype])
    described = result.get_output("y")
    assert (described["datatype"], described["shape"]) == (datatype, [2, 3])
    assert ("data" in described) != out_binary


@pytest.mark.parametrize("datatype", sorted(BYTES_ONLY))
def test_datatypes_that_json_cannot_carry(client: InferenceServerClient, datatype: str) -> None:
    assert same(_identity(client, datatype, SAMPLES[datatype]).as_numpy("y"), SAMPLES[datatype])
    with pytest.raises(InferenceServerException, match=datatype) as error:
        _identity(client, datatype, SAMPLES[datatype], outputs=[InferRequestedOutput("y", binary_data=False)])
    assert error.value.status() == "400"


@pytest.mark.parametrize("datatype", STRANGE)
def test_what_is_no_number_travels_as_bytes(client: InferenceServerClient, datatype: str) -> None:
    assert same(_identity(client, datatype, STRANGE[datatype]).as_numpy("y"), STRANGE[datatype])


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_is_no_number_is_null_in_json(client: InferenceServerClient, datatype: str) -> None:
    result = _identity(client, datatype, STRANGE[datatype], outputs=[InferRequestedOutput("y", binary_data=False)])
    assert result.get_output("y")["data"] == [None, None, None]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", [name for name in SAMPLES if name not in BYTES_ONLY])
def test_rows_of_nothing(client: InferenceServerClient, datatype: str, binary: bool) -> None:
    nothing = np.empty((2, 0), SAMPLES[datatype].dtype)
    outputs = [InferRequestedOutput("y", binary_data=binary)]
    result = _identity(client, datatype, nothing, binary=binary, outputs=outputs)
    assert result.as_numpy("y").shape == (2, 0)


def test_an_array_that_is_no_row_after_the_other(client: InferenceServerClient) -> None:
    columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert _identity(client, "FP32", columns).as_numpy("y").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_megabytes(client: InferenceServerClient) -> None:
    array = np.random.default_rng(0).normal(size=(8, 250_000)).astype(np.float32)
    assert same(_identity(client, "FP32", array).as_numpy("y"), array)


_A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
_B = np.array([[10, 20, 30], [40, 50, 60]], np.int64)


def _pair(
    client: InferenceServerClient, *, a: bool = True, b: bool = True, turned: bool = False, **options: Any
) -> InferResult:
    """Ask `pair`, its inputs as bytes or in JSON, in this order or the other."""
    inputs = [_input("a", "FP32", _A, binary=a), _input("b", "INT64", _B, binary=b)]
    return client.infer("pair", inputs[::-1] if turned else inputs, **options)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("b", [True, False])
@pytest.mark.parametrize("a", [True, False])
def test_bytes_and_json_mixed(client: InferenceServerClient, a: bool, b: bool, turned: bool) -> None:
    for sums in (True, False):
        for less in (True, False):
            outputs = [InferRequestedOutput("sum", binary_data=sums), InferRequestedOutput("less", binary_data=less)]
            result = _pair(client, a=a, b=b, turned=turned, outputs=outputs)
            assert same(result.as_numpy("sum"), _A + _B.astype(np.float32))
            assert same(result.as_numpy("less"), _B - _A.astype(np.int64))


@pytest.mark.parametrize("names", [["sum"], ["less"], ["sum", "less"], ["less", "sum"]])
def test_outputs_are_those_asked_for_in_that_order(client: InferenceServerClient, names: list[str]) -> None:
    for binary in (True, False):
        result = _pair(client, outputs=[InferRequestedOutput(name, binary_data=binary) for name in names])
        assert [output["name"] for output in result.get_response()["outputs"]] == names


def test_all_outputs_without_being_asked(client: InferenceServerClient) -> None:
    result = _pair(client)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["sum", "less"]
    assert all("data" not in output for output in result.get_response()["outputs"])


@pytest.mark.parametrize("name", ["one", "ü😀", '"\\\n', "i" * 256])
def test_an_id_comes_back(client: InferenceServerClient, name: str) -> None:
    assert _pair(client, request_id=name).get_response()["id"] == name


def test_the_answer_tells_who_gave_it(client: InferenceServerClient) -> None:
    for version in ("", "1"):
        response = _pair(client, model_version=version).get_response()
        assert (response["model_name"], response["model_version"]) == ("pair", "1")
        assert "id" not in response


def test_a_model_without_a_batch_axis(client: InferenceServerClient) -> None:
    state = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    gain = np.array(2.5, np.float32)
    for binary in (True, False):
        inputs = [_input("state", "FP32", state, binary=binary), _input("gain", "FP32", gain, binary=binary)]
        result = client.infer("state", inputs)
        assert same(result.as_numpy("next"), state * gain)
        assert same(result.as_numpy("square"), gain * gain)
        assert result.get_output("square")["shape"] == []


def test_a_classifier(client: InferenceServerClient) -> None:
    result = client.infer("toy", [_input("image", "UINT8", IMAGES)])
    expected = toys.reference(IMAGES)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-5)
    assert result.as_numpy("class").tolist() == expected["class"].tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 3, 9])
def test_classification(client: InferenceServerClient, classes: int, binary: bool) -> None:
    outputs = [InferRequestedOutput("probabilities", binary_data=binary, class_count=classes)]
    result = client.infer("toy", [_input("image", "UINT8", IMAGES)], outputs=outputs)
    found = result.as_numpy("probabilities")
    assert result.get_output("probabilities")["datatype"] == "BYTES"
    assert found.shape == (3, min(classes, 3))
    for row, scores in zip(found, toys.reference(IMAGES)["probabilities"], strict=True):
        for place, text in enumerate(row):
            value, index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert int(index) == np.argsort(-scores)[place]
            assert label == toys.LABELS[int(index)]
            assert float(value) == pytest.approx(scores[int(index)], abs=1e-5)


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("INT64", [2**53, 2**53 + 1, -1], [f"{2**53 + 1}:1", f"{2**53}:0"]),
        ("UINT64", [0, 2**64 - 1, 2**64 - 2], [f"{2**64 - 1}:1", f"{2**64 - 2}:2"]),
        ("INT8", [-128, 127, 127], ["127:1", "127:2"]),
        ("FP64", [0.1, 0.3, 0.2], ["0.3:1", "0.2:2"]),
        ("FP16", [-1, 2, 0.5], ["2.0:1", "0.5:2"]),
    ],
)
def test_classes_are_ordered_by_value(
    client: InferenceServerClient, datatype: str, values: list[float], expected: list[str]
) -> None:
    array = np.array([values], SAMPLES[datatype].dtype)
    result = _identity(client, datatype, array, outputs=[InferRequestedOutput("y", class_count=2)])
    assert [text.decode() for text in result.as_numpy("y")[0]] == expected


def test_classes_of_bf16_are_values_and_not_bits(client: InferenceServerClient) -> None:
    array = np.array([[-2.0, 1.0, 0.5]], ml_dtypes.bfloat16)
    result = _identity(client, "BF16", array, outputs=[InferRequestedOutput("y", class_count=3)])
    assert [text.decode() for text in result.as_numpy("y")[0]] == ["1.0:1", "0.5:2", "-2.0:0"]


def test_texts_have_no_classes(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as error:
        _identity(client, "BYTES", SAMPLES["BYTES"], outputs=[InferRequestedOutput("y", class_count=1)])
    assert error.value.status() == "400"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: InferenceServerClient, algorithm: str) -> None:
    for binary in (True, False):
        result = _identity(client, "FP32", SAMPLES["FP32"], binary=binary, request_compression_algorithm=algorithm)
        assert same(result.as_numpy("y"), SAMPLES["FP32"])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_client_that_would_take_compressed_answers(client: InferenceServerClient, algorithm: str) -> None:
    result = _identity(client, "FP32", SAMPLES["FP32"], response_compression_algorithm=algorithm)
    assert same(result.as_numpy("y"), SAMPLES["FP32"])


def test_a_timeout_is_in_microseconds(client: InferenceServerClient) -> None:
    one = np.ones((1, 1), np.float32)
    with pytest.raises(InferenceServerException) as error:
        client.infer("patient", [_input("x", "FP32", one)], timeout=50_000)
    assert error.value.status() == "504"
    assert "deadline" in error.value.message()
    assert client.infer("patient", [_input("x", "FP32", one)], timeout=20_000_000).as_numpy("y").tolist() == [[1]]


def test_priorities(client: InferenceServerClient) -> None:
    one = np.ones((1, 1), np.float32)
    for priority in (0, 1, 2):
        assert client.infer("levels", [_input("x", "FP32", one)], priority=priority).as_numpy("y").tolist() == [[1]]
    with pytest.raises(InferenceServerException, match="priority") as error:
        client.infer("levels", [_input("x", "FP32", one)], priority=3)
    assert error.value.status() == "400"
    # A model without levels takes any.
    assert same(_identity(client, "FP32", one, priority=7).as_numpy("y"), one)


def test_parameters_of_ones_own(client: InferenceServerClient) -> None:
    assert same(_identity(client, "FP32", _A, parameters={"mine": "a", "n": 1, "f": 1.5, "b": True}).as_numpy("y"), _A)


def test_many_at_once(client: InferenceServerClient) -> None:
    waiting = [
        client.async_infer(
            "identity_int32", [_input("x", "INT32", np.full((1, 5), number, np.int32))], request_id=str(number)
        )
        for number in range(50)
    ]
    for number, request in enumerate(waiting):
        result = request.get_result()
        assert result.get_response()["id"] == str(number)
        assert result.as_numpy("y").tolist() == [[number] * 5]


def _absent(client: InferenceServerClient) -> InferResult:
    return client.infer("absent", [_input("x", "FP32", _A)])


_WIDE = np.zeros((1, 5, 4), np.uint8)

WRONG: dict[str, tuple[Callable[[InferenceServerClient], InferResult], str, str]] = {
    "an unknown model": (lambda client: client.infer("nobody", [_input("x", "FP32", _A)]), "404", "nobody"),
    "an unknown version": (lambda client: client.infer("pair", [_input("a", "FP32", _A)], "7"), "404", "7"),
    "a model that is not loaded": (_absent, "503", "absent"),
    "an input too few": (lambda client: client.infer("pair", [_input("a", "FP32", _A)]), "400", "b"),
    "an unknown input": (lambda client: client.infer("identity_fp32", [_input("z", "FP32", _A)]), "400", "z"),
    "another datatype": (lambda client: client.infer("identity_fp32", [_input("x", "INT64", _B)]), "400", "INT64"),
    "another width": (lambda client: client.infer("toy", [_input("image", "UINT8", _WIDE)]), "400", "5"),
    "too many rows": (lambda client: _identity(client, "FP32", np.zeros((9, 1), np.float32)), "400", "9"),
    "no rows": (lambda client: _identity(client, "FP32", np.zeros((0, 1), np.float32)), "400", "0"),
    "an unknown output": (lambda client: _pair(client, outputs=[InferRequestedOutput("no")]), "400", "no"),
    "an id that is too long": (lambda client: _pair(client, request_id="i" * 257), "400", "id"),
    "a sequence": (lambda client: _pair(client, sequence_id=1, sequence_start=True), "400", "sequence"),
    "text that is not UTF-8": (
        lambda client: _identity(client, "BYTES", np.array([[b"\xff"]], dtype=object)), "400", "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_are_the_clients_own(client: InferenceServerClient, wrong: str) -> None:
    ask, status, word = WRONG[wrong]
    with pytest.raises(InferenceServerException) as error:
        ask(client)
    assert error.value.status() == status
    assert "decoding the response" not in error.value.message()
    assert word in error.value.message()
    # The client goes on on the same connection.
    assert same(_identity(client, "FP32", _A).as_numpy("y"), _A)
