import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serving.backends.onnx_steady import is_steady, operators
from tests import toys
from tests.serving import graphs


def model(*nodes: onnx.NodeProto, functions: list[onnx.FunctionProto] | None = None) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(list(nodes), "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], functions=functions or [])
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.parametrize("name", ["Relu", "Conv", "MatMul", "Softmax", "Reshape", "Gather", "ReduceMean", "TopK"])
def test_most_operators_are_steady_or_are_not_known_to_be(name: str) -> None:
    assert is_steady(model(helper.make_node(name, ["x"], ["y"]))) is (name != "TopK")


@pytest.mark.parametrize(
    "name",
    ["Loop", "Scan", "If", "Range", "Expand", "Tile", "ConstantOfShape", "Resize", "Pad", "OneHot", "HannWindow", "NonZero",
     "HammingWindow", "BlackmanWindow", "MelWeightMatrix", "AffineGrid", "CenterCropPad", "MaxUnpool", "DFT",
     "NonMaxSuppression", "StringSplit", "Unique", "Compress", "SequenceMap", "RandomNormal", "NobodyKnows"],
)  # fmt: skip
def test_what_a_value_could_prolong_is_not(name: str) -> None:
    relu = helper.make_node("Relu", ["x"], ["h"])
    assert not is_steady(model(relu, helper.make_node(name, ["h"], ["y"])))


def test_another_domain_and_functions_of_its_own_are_nobodys() -> None:
    assert not is_steady(model(helper.make_node("Relu", ["x"], ["y"], domain="somebody's")))
    assert is_steady(model(helper.make_node("QGemm", ["x"], ["y"], domain="com.microsoft")))
    function = helper.make_function("f", "Relu", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    assert not is_steady(model(helper.make_node("Relu", ["x"], ["y"]), functions=[function]))


def test_operators_are_those_that_onnx_reads(tmp_path: Path) -> None:
    graphs.publish_counting(tmp_path)
    toys.publish(tmp_path)
    for file in tmp_path.rglob("model.onnx"):
        read = onnx.load(file)
        assert list(operators(file.read_bytes())) == [(node.domain, node.op_type) for node in read.graph.node]


def test_whatever_a_file_holds_it_is_answered() -> None:
    random.seed(1)
    whole = model(helper.make_node("Relu", ["x"], ["y"]))
    for _ in range(3000):
        broken = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        is_steady(bytes(broken[: random.randint(0, len(broken))]))
    assert not is_steady(b"\xff" * 100)
    assert not is_steady(bytes(np.zeros(40 * 1024 * 1024, np.uint8)))
