"""ONNX Runtime's CUDA provider as far as it can be known without a GPU: refusals, options, and binding, on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.tensors import Signature, TensorSpec
from serving.backends import onnx_cuda
from serving.backends.base import BackendError, Execution
from serving.backends.onnx import OnnxBackend
from serving.backends.onnx_cuda import BoundSession, check_execution, providers_of
from tests import toys

WITH, WITHOUT = ("CUDAExecutionProvider", "CPUExecutionProvider"), ("CPUExecutionProvider",)


def test_a_device_without_a_provider_is_refused_with_the_providers_there_are() -> None:
    with pytest.raises(BackendError) as error:
        onnx_cuda.check_device("cuda:1", WITHOUT, version="1.32.0")
    assert str(error.value) == (
        "device: expected 'cpu', found 'cuda:1': onnxruntime 1.32.0 has CPUExecutionProvider; "
        "onnxruntime-gpu brings CUDAExecutionProvider"
    )
    with pytest.raises(BackendError, match="expected one of 'cpu', 'cuda:N', found 'tpu'"):
        onnx_cuda.check_device("tpu", WITH, version="1.32.0")
    assert onnx_cuda.check_device("cuda", WITH, version="1.32.0") == "cuda:0"
    assert [onnx_cuda.has_device("cuda:1", providers) for providers in (WITH, WITHOUT)] == [True, False]


@pytest.mark.parametrize(("precision", "tf32"), [(None, "0"), ("tf32", "1")])
def test_tf32_is_off_unless_it_is_configured(precision: str | None, tf32: str) -> None:
    first, behind = providers_of("cuda:2", Execution(precision))
    assert isinstance(first, tuple)
    name, options = first
    assert (name, behind) == WITH
    assert (options["device_id"], options["use_tf32"]) == ("2", tf32)
    assert all(isinstance(value, str) for value in options.values())
    assert providers_of("cpu", Execution()) == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("fp16", "cuda:0", "precision: expected tf32 or none in ONNX Runtime, found 'fp16'; for 16 bits, export onnx_fp16"),
        ("tf32", "cpu", "precision: expected none on the CPU in ONNX Runtime, found 'tf32'"),
    ],
)
def test_other_precisions_are_refused(precision: str, device: str, message: str) -> None:
    with pytest.raises(BackendError) as error:
        check_execution(Execution(precision), device)
    assert str(error.value).startswith(message)


def test_a_provider_that_the_runtime_leaves_out_is_an_error_and_not_the_cpu(
    toy_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(WITH))
    # As the runtime does where CUDA's libraries are missing: a session without that provider.
    monkeypatch.setattr("serving.backends.onnx.providers_of", lambda device, execution: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match="expected 'cuda:0' to be usable by ONNX Runtime, found CPUExecutionProvider"):
        OnnxBackend().open(toy_repository / "toy" / "1" / "model.onnx", toys.signature(), device="cuda", threads=1)


def test_bound_inputs_and_outputs_are_answers_like_any_other_and_the_caller_s() -> None:
    runtime = onnxruntime.InferenceSession(toys.onnx_model().SerializeToString(), providers=["CPUExecutionProvider"])
    session = BoundSession(runtime, toys.signature())
    pixels = toys.images(10)[::2]
    pixels.flags.writeable = False
    found = session.run({"image": pixels})
    kept = {name: array.copy() for name, array in found.items()}
    for seed in range(10):
        session.run({"image": toys.images(5, seed=seed)})
    expected = toys.reference(pixels)
    for name, array in kept.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=toys.TOLERANCE[name])
    assert session.allocate("image", (2, 4, 4)).dtype == np.uint8
    session.close()


@pytest.mark.parametrize(("datatype", "takes"), [("FP32", True), ("BOOL", True), ("BYTES", False), ("BF16", False)])
def test_what_numpy_or_the_gpu_lacks_is_not_bound(datatype: str, takes: bool) -> None:
    spec = TensorSpec("x", datatype, ())
    assert BoundSession.takes(Signature((spec,), (TensorSpec("y", "FP32", ()),), 1)) == takes
