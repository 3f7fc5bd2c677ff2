"""Somebody else's ONNX file, looked at before any runtime opens it: what makes it unfit to be published, and who made it.

A version is checksummed file by file, so all of the model must be in its one file. The rest is refused here because a
message that names the tensor or the operator helps more than what a runtime says.
"""

from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto, defs

from export.exporter import ExportError, first_line

#: Domains whose operators onnx knows; the empty one is its own. What others mean only a runtime can know.
_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

#: Operators named in a message, as a file that lacks a domain lacks all of it.
_MOST_NAMED = 5


def read(data: bytes, file: str) -> onnx.ModelProto:
    """Return the model; raise ExportError naming what keeps it from being published."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own
        raise ExportError(f"{file}: expected an ONNX model, found something else: {first_line(error)}") from error
    if not model.graph.output:
        raise ExportError(f"{file}: expected an ONNX model with outputs, found none")
    tensors = list(_tensors(model.graph)) + [one for function in model.functions for one in _of_nodes(function.node)]
    outside = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise ExportError(
            f"{file}: expected all weights within the file, found {len(outside)} outside it, the first is "
            f"{outside[0].name!r}; write one file: onnx.save(onnx.load(path), other), if it stays below 2 GiB"
        )
    given = {tensor.name for tensor in model.graph.initializer}
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        names = [value.name for value in values if kind == "output" or value.name not in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ExportError(f"{file}: {kind}s: expected names that differ, found {twice[0]!r} twice")
    _check_operators(model, file)
    return model


def describe(model: onnx.ModelProto) -> dict[str, object]:
    """Return what the file says of its making."""
    return {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": model.ir_version,
        "opsets": {one.domain or "ai.onnx": one.version for one in model.opset_import},
    }


def _check_operators(model: onnx.ModelProto, file: str) -> None:
    """Raise ExportError for operators of onnx's own domains that it does not know."""
    functions = {(function.domain, function.name) for function in model.functions}
    unknown = {
        node.op_type
        for node in _nodes(model.graph)
        if node.domain in _KNOWN_DOMAINS
        and (node.domain, node.op_type) not in functions
        and not defs.has(node.op_type, domain="" if node.domain == "ai.onnx" else node.domain)
    }
    if unknown:
        named = ", ".join(sorted(unknown)[:_MOST_NAMED])
        raise ExportError(f"{file}: expected operators of ONNX {onnx.__version__} or a domain of their own, found {named}")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant of a graph and of the graphs within its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _graphs(node):
            yield from _tensors(inner)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
