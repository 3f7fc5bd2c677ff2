"""Operators for which a runtime has ways of its own with NaN and infinity, so that a right file answers them otherwise.

Found by running some sixty operators and layers in ONNX Runtime 1.27 and in torch 2.13 on the CPU, each at every edge of its
input. Nobody promises either way: where a maximum is taken, NaN is the maximum for torch and is passed over by others.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

#: Of ONNX: what was seen there, in place of the eager model's answer.
_ONNX = {
    "ArgMax": "NaN is passed over",
    "ArgMin": "NaN is passed over",
    "Clip": "infinity becomes the largest number, where a limit is left out",
    "GRU": "NaN becomes a number",
    "Gelu": "infinity stays, where the eager model says NaN",
    "GlobalMaxPool": "NaN is passed over",
    "LSTM": "NaN becomes a number",
    "MaxPool": "NaN is passed over",
    "ReduceMax": "NaN is passed over",
    "ReduceMin": "NaN is passed over",
    "Sign": "NaN stays, where the eager model says 0",
}


def ways(path: Path) -> tuple[str, ...]:
    """Return which of these operators a saved file holds; none but ONNX files do."""
    if path.suffix != ".onnx":
        return ()
    import onnx

    model = onnx.load(path, load_external_data=False)
    nodes = _nodes([model.graph.node, *(function.node for function in model.functions)])
    return tuple(sorted({node.op_type for node in nodes} & _ONNX.keys()))


def _nodes(lists: "Iterable[Iterable[onnx.NodeProto]]") -> "Iterator[onnx.NodeProto]":
    """Yield every node, those in the branches and bodies of others too."""
    for nodes in lists:
        for node in nodes:
            yield node
            graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
            yield from _nodes([graph.node for graph in graphs])
