"""Importing somebody else's file: what is published is proved by running it, and what cannot be is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import cli
from export import second_opinion
from models.repository import ModelVersion, Repository
from models.signing import Trust
from models.tensors import Array, TensorSpec
from tests.serving import strangers
from tests.serving.live import serving
from tests.serving.strangers import FLOAT, INT64, model, node


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(graph: onnx.ModelProto | bytes, *words: str, code: int = 0) -> ModelVersion | None:
    """Import a graph as `theirs`; return the version, if the exit code is 0."""
    Path("net.onnx").write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    assert cli.main(["import", "net.onnx", "--name", "theirs", *words]) == code
    if code:
        assert not list(Path("models").glob("theirs/*"))
        return None
    return Repository(Path("models")).open("theirs", 1)


def published(graph: onnx.ModelProto, *words: str) -> ModelVersion:
    version = imported(graph, *words)
    assert version is not None
    return version


def test_a_file_is_published_with_its_signature_golden_sample_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    graph = strangers.linear()
    version = published(graph)
    manifest = version.manifest
    assert manifest.signature.inputs == (TensorSpec("x", "FP32", (64,)),)
    assert manifest.signature.max_batch_size == 32
    (artifact,) = manifest.artifacts
    assert (version.path / artifact.file).read_bytes() == Path("net.onnx").read_bytes()
    assert manifest.checkpoint == artifact.sha256 == manifest.origin.recipe["sha256"]
    assert manifest.origin.recipe["imported"] == "net.onnx"
    assert manifest.origin.recipe["opsets"] == {"ai.onnx": 18}
    assert manifest.origin.data == "unknown"
    inputs, outputs = version.golden()
    session = onnxruntime.InferenceSession(version.path / artifact.file, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["y"], inputs)[0], outputs["y"])
    scale = float(np.abs(outputs["y"]).max())
    assert 0 < artifact.tolerance["y"] < 1e-4 * scale
    lines = capsys.readouterr().out.splitlines()
    assert "batching  up to 32 rows, tried and found independent" in lines
    assert "reference checked by onnx's reference evaluator on 2 rows" in lines
    assert lines[-1] == f"published theirs/1 sha256:{version.digest}"
    assert cli.main(["verify", "models/theirs/1"]) == 0


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (strangers.add_total, "of a row is another among 7 rows than alone"),
        (strangers.recurrent, "'state' has the shape [2, -1, 3], without a free first axis"),
        (lambda: strangers.double((4, 3)), "'x' has the shape [4, 3], without a free first axis"),
        (lambda: strangers.double(("N", "N")), "'x' has the axis 'N', which is a first axis, again further in"),
    ],
)
def test_rows_that_cannot_share_an_execution_get_no_batch_axis(
    graph: Callable[[], onnx.ModelProto], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version = published(graph())
    assert version.manifest.signature.max_batch_size == 0
    assert version.manifest.golden.rows == 1
    assert why in capsys.readouterr().out
    assert cli.main(["verify", "models/theirs/1"]) == 0


def test_a_batch_that_is_demanded_and_cannot_be_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    imported(strangers.add_total(), "--max-batch-size", "8", code=1)
    assert "net.onnx: --max-batch-size 8: output 'y' of a row is another among 7 rows" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "golden"), [(0, 1), (1, 1), (5, 5), (64, 16)])
def test_the_largest_batch_may_be_stated(rows: int, golden: int) -> None:
    manifest = published(strangers.double(), "--max-batch-size", str(rows)).manifest
    assert (manifest.signature.max_batch_size, manifest.golden.rows) == (rows, golden)


def test_texts_are_kept_as_texts() -> None:
    version = published(strangers.texts())
    inputs, outputs = version.golden()
    assert inputs["x"].dtype == object
    assert np.array_equal(inputs["x"], outputs["y"])
    assert cli.main(["verify", "models/theirs/1"]) == 0


def test_real_inputs_are_the_golden_sample() -> None:
    rows = np.random.default_rng(3).normal(size=(20, 64)).astype(np.float32)
    np.savez("real.npz", x=rows)
    version = published(strangers.linear(), "--inputs", "real.npz")
    assert np.array_equal(version.golden()[0]["x"], rows[:16])
    assert version.manifest.origin.recipe["inputs"] == "given"


def test_few_real_inputs_show_no_independence(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("real.npz", x=np.ones((2, 64), np.float32))
    assert published(strangers.linear(), "--inputs", "real.npz").manifest.signature.max_batch_size == 0
    assert "batching  none: there are 2 rows, and fewer than 14 show nothing" in capsys.readouterr().out


def outside() -> bytes:
    graph = strangers.linear()
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return bytes(graph.SerializeToString())


def outside_in_a_branch() -> bytes:
    """Return a file whose weights lie outside it, in a constant of a graph within a node."""
    constant = onnx.numpy_helper.from_array(np.zeros((3,), np.float32), "far")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="weights.bin")
    branch = helper.make_graph(
        [node("Constant", [], ["z"], value=constant)], "b", [], [helper.make_tensor_value_info("z", FLOAT, [3])]
    )
    nodes = [node("If", ["go"], ["y"], then_branch=branch, else_branch=branch)]
    return bytes(model(nodes, {"go": (TensorProto.BOOL, ())}, {"y": (FLOAT, (3,))}).SerializeToString())


def twice() -> onnx.ModelProto:
    graph = strangers.double()
    graph.graph.output.append(graph.graph.output[0])
    return graph


def unknown(kind: str, **attributes: Any) -> onnx.ModelProto:
    return model([node(kind, ["x"], ["y"], **attributes)], {"x": (FLOAT, ("N", 3))}, {"y": (FLOAT, ("N", 3))})


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"no model at all", "net.onnx: expected an ONNX model"),
        (b"", "net.onnx: expected an ONNX model with outputs, found none"),
        (outside(), "expected all weights within the file, found 1 outside it, the first is 'w'"),
        (outside_in_a_branch(), "expected all weights within the file, found 2 outside it, the first is 'far'"),
        (twice(), "outputs: expected names that differ, found 'y' twice"),
        (unknown("Telepathy"), "or a domain of their own, found Telepathy"),
        (unknown("Telepathy", domain="com.example"), "ONNX Runtime cannot open it"),
        (model([node("Identity", ["x"], ["y"])], {"x": (TensorProto.BFLOAT16, (3,))}, {"y": (TensorProto.BFLOAT16, (3,))}),
         "input 'x': expected a tensor of"),
        (model([node("Gather", ["t", "x"], ["y"])], {"x": (INT64, ())}, {"y": (FLOAT, ())}, {"t": np.ones(1, np.float32)}),
         "random inputs cannot be run"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_published_is_2_in_one_line(
    graph: onnx.ModelProto | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(graph, "--seed", "1", code=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sameway import: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_model_that_is_random_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    imported(model([node("RandomNormalLike", ["x"], ["y"])], {"x": (FLOAT, (3,))}, {"y": (FLOAT, (3,))}), code=1)
    assert "the model is random or ill-conditioned" in capsys.readouterr().err


def test_a_reference_that_says_otherwise_is_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Otherwise:
        def __init__(self, model: onnx.ModelProto) -> None:
            self._honest = ReferenceEvaluator(model)

        def run(self, *given: Any) -> list[Array]:
            return [np.asarray(array) * np.float32(1.01) for array in self._honest.run(*given)]

    monkeypatch.setattr(second_opinion, "ReferenceEvaluator", Otherwise)
    imported(strangers.linear(), code=1)
    assert "y: ONNX Runtime and onnx's reference evaluator differ by " in capsys.readouterr().err


def test_a_reference_that_cannot_run_the_file_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(*_: object) -> None:
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(second_opinion, "ReferenceEvaluator", cannot)
    published(strangers.linear())
    assert "which cannot run it: NotImplementedError: no such operator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.ones((16, 3), np.float32)}, "--inputs: expected the arrays x, found y"),
        ({"x": np.ones((16, 3), np.float64)}, "--inputs: x: expected datatype FP32, found dtype float64"),
        ({"x": np.ones((16, 4), np.float32)}, "--inputs: x: expected shape [-1, 3], found shape [16, 4]"),
    ],
)
def test_inputs_that_do_not_fit_are_2(arrays: dict[str, Array], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("real.npz", allow_pickle=False, **arrays)
    imported(strangers.double(), "--inputs", "real.npz", code=2)
    assert message in capsys.readouterr().err


def test_pickles_names_and_missing_files_are_2(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("pickled.npz", x=np.array([{}], object))
    imported(strangers.double(), "--inputs", "pickled.npz", code=2)
    assert "pickled.npz: expected an .npz file of arrays" in capsys.readouterr().err
    assert cli.main(["import", "absent.onnx", "--name", "theirs"]) == 2
    assert capsys.readouterr().err == "sameway import: absent.onnx: No such file or directory\n"
    assert cli.main(["import", "net.onnx", "--name", "../theirs"]) == 2
    assert "model name: expected letters" in capsys.readouterr().err


def test_an_import_can_be_signed(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    published(strangers.double(), "--sign", "key.pem")
    assert Repository(Path("models"), trust=Trust([key.public_key()], required=True)).open("theirs", 1)


def test_it_is_served_as_a_verified_version() -> None:
    graph = strangers.linear()
    version = published(graph)
    row = np.random.default_rng(5).normal(size=(1, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": row.ravel().tolist()}]}
    with serving(Path("models").absolute(), "--require-manifest") as server:
        answer = server.ask("POST", "/v2/models/theirs/infer", json.dumps(body).encode())
    assert answer.status == 200, answer.body
    assert answer.headers["sameway-version"] == f"theirs/1 sha256:{version.digest}"
    found = np.array(answer.json()["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(found, session.run(["y"], {"x": row})[0].ravel())
