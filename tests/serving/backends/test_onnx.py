from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from models.repository import Repository
from models.tensors import Array, Signature, TensorSpec
from serving.backends.base import ArtifactBytes, BackendError, SteadySession
from serving.backends.declared import Declared, DeclaredTensor
from serving.backends.onnx import OnnxBackend
from tests import toys
from tests.serving import graphs, strangers


@pytest.mark.parametrize(
    "signature",
    [
        replace(toys.signature(), inputs=(TensorSpec("picture", "UINT8", (4, 4)),)),
        replace(toys.signature(), outputs=toys.signature().outputs[:1]),
        replace(toys.signature(), inputs=(*toys.signature().inputs, TensorSpec("mask", "UINT8", ()))),
        replace(toys.signature(), outputs=(TensorSpec("Probabilities", "FP32", (3,)), toys.signature().outputs[1])),
    ],
    ids=["another input", "fewer outputs", "more inputs", "another case"],
)
def test_a_graph_whose_names_are_not_the_signature_s_is_not_opened(toy_repository: Path, signature: Signature) -> None:
    artifact = toy_repository / "toy" / "1" / "model.onnx"
    with pytest.raises(BackendError, match=r"model\.onnx: (in|out)puts: expected \["):
        OnnxBackend().open(artifact, signature, device="cpu", threads=1)


def test_outputs_are_matched_by_name_not_by_place(toy_repository: Path) -> None:
    turned = replace(toys.signature(), outputs=tuple(reversed(toys.signature().outputs)))
    session = OnnxBackend().open(toy_repository / "toy" / "1" / "model.onnx", turned, device="cpu", threads=1)
    found = session.run({"image": toys.images(2)})
    assert list(found) == ["class", "probabilities"]
    np.testing.assert_array_equal(found["class"], toys.reference(toys.images(2))["class"])
    session.close()


@pytest.mark.parametrize("datatype", sorted(graphs.ELEMENTS))
def test_every_datatype_goes_through_unchanged(tmp_path: Path, datatype: str) -> None:
    version = graphs.publish_identity(tmp_path)
    signature = version.manifest.signature
    session = OnnxBackend().open(version.path / "model.onnx", signature, device="cpu", threads=1)
    inputs = {spec.name: np.ones((2, 3), spec.dtype) for spec in signature.inputs}
    edges = extremes(inputs[f"in_{datatype}"].dtype)
    inputs[f"in_{datatype}"] = np.tile(edges, 2).reshape(2, 3)
    found = session.run(inputs)[f"out_{datatype}"]
    assert found.dtype == edges.dtype
    np.testing.assert_array_equal(found, inputs[f"in_{datatype}"])
    session.close()


def extremes(dtype: "np.dtype[Any]") -> Array:  # Any: the datatype is the test's parameter
    """Return the smallest, the largest and a middling value of a type."""
    if dtype == np.bool_:
        return np.array([False, True, True])
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array([limits.min, limits.max, 1], dtype)


def test_a_scalar_model_runs(tmp_path: Path) -> None:
    version = graphs.publish_square_root(tmp_path)
    opened = Repository(tmp_path).open("root", 1)
    session = OnnxBackend().open(version.path / "model.onnx", opened.manifest.signature, device="cpu", threads=1)
    found = session.run({"x": np.array(16, np.float32)})["root"]
    assert (found.shape, float(found)) == ((), 4.0)
    session.close()


def test_weights_in_a_file_beside_the_artifact_which_nobody_checksummed_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tmp_path / "model.onnx"
    onnx.save(toys.onnx_model(), artifact, save_as_external_data=True, location="weights.bin", size_threshold=100)
    assert (tmp_path / "weights.bin").stat().st_size >= 192
    monkeypatch.chdir(tmp_path)  # the other place in which a runtime may look
    with pytest.raises(BackendError, match="External data"):
        OnnxBackend().open(artifact, toys.signature(), device="cpu", threads=1)


def declared(graph: onnx.ModelProto) -> Declared:
    return OnnxBackend().declared(ArtifactBytes("model.onnx", graph.SerializeToString()))


@pytest.mark.parametrize("datatype", sorted(graphs.ELEMENTS))
def test_a_graph_tells_its_own_datatypes(datatype: str) -> None:
    found = declared(graphs.identity((datatype,), 3)[1])
    assert found.inputs == (DeclaredTensor(f"in_{datatype}", datatype, ("N", 3)),)
    assert found.outputs == (DeclaredTensor(f"out_{datatype}", datatype, ("N", 3)),)


@pytest.mark.parametrize(
    ("kind", "datatype"),
    [(onnx.TensorProto.FLOAT16, "FP16"), (onnx.TensorProto.BFLOAT16, "BF16"), (onnx.TensorProto.STRING, "BYTES")],
)
def test_datatypes_that_json_cannot_carry_are_told_too(kind: int, datatype: str) -> None:
    graph = strangers.model([strangers.node("Identity", ["x"], ["y"])], {"x": (kind, (2,))}, {"y": (kind, (2,))})
    assert declared(graph).inputs == (DeclaredTensor("x", datatype, (2,)),)


def test_an_axis_is_a_length_or_a_name_or_free() -> None:
    axes = ("N", None, -1, 4, 0)
    graph = strangers.double(axes)
    assert declared(graph).inputs[0].axes == ("N", None, None, 4, 0)
    assert declared(graphs.square_root()[1]).inputs[0].axes == ()


def test_constants_that_a_client_could_replace_are_no_inputs() -> None:
    graph = strangers.linear(4)
    graph.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 4]))
    assert [tensor.name for tensor in declared(graph).inputs] == ["x"]


def test_an_element_that_is_no_datatype_of_the_protocol_is_named() -> None:
    kind = onnx.TensorProto.FLOAT8E4M3FN
    graph = onnx.helper.make_model(
        strangers.model([strangers.node("Identity", ["x"], ["y"])], {"x": (kind, (2,))}, {"y": (kind, (2,))}).graph,
        opset_imports=[onnx.helper.make_opsetid("", 19)],
        ir_version=10,
    )
    with pytest.raises(
        BackendError, match=r"model\.onnx: input 'x': expected a tensor of bool, .*, found tensor\(float8e4m3fn\)"
    ):
        declared(graph)


def test_a_file_that_is_none_tells_nothing() -> None:
    with pytest.raises(BackendError, match=r"^model\.onnx: ONNX Runtime cannot open it"):
        OnnxBackend().declared(ArtifactBytes("model.onnx", b"garbage"))


def test_a_graph_whose_values_decide_how_long_it_takes_says_so(tmp_path: Path, toy_repository: Path) -> None:
    graphs.publish_counting(tmp_path)
    for root, model, steady in ((tmp_path, "counting", False), (toy_repository, "toy", True)):
        version = Repository(root).open(model, 1)
        session = OnnxBackend().open(version.path / "model.onnx", version.manifest.signature, device="cpu", threads=1)
        assert isinstance(session, SteadySession)
        assert session.steady is steady
        session.close()
