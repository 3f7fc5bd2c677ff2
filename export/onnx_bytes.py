"""An ONNX graph as bytes that say nothing of the tools and the machine that made it: the same graph gives the same bytes."""

import onnx


def anonymous(model: onnx.ModelProto) -> bytes:
    """Return the file without what the tools note of themselves in every node, and of shapes in between."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
