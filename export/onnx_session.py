"""An ONNX file opened with ONNX Runtime alone, as a stranger would: neither torch nor the package onnx is needed.

What verifies, compares and imports versions opens them with this, so that it works where nothing but a server is installed.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from export.exporter import ExportError, Run, first_line
from models.tensors import Array, Tensors

#: The runtime's names of element types, and the protocol's. BF16 is missing: numpy has no array for it.
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output as the file declares it: an axis is a length, the name of a free one, or None, just free."""

    name: str
    datatype: str
    axes: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """An opened file: what it declares, and how to run it."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    run: Run


def open_onnx(path: Path, *, optimised: bool = True, threads: int = 1) -> OnnxSession:
    """Open a file on CPU threads; raise ExportError where the runtime cannot, or a tensor has no protocol datatype.

    `optimised` False leaves every node as it is written, which sums in another order: a second opinion on rounding.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # As in serving, where a thread that spins while it waits for work would burn a core when nobody asks anything.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # fatal: what goes wrong is raised, and told once
    # Weights in a file beside the artifact have no checksum: there is no folder in which they could be found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    levels = onnxruntime.GraphOptimizationLevel
    # As in serving: the level above it crashes the process on some graphs of float16.
    options.graph_optimization_level = levels.ORT_ENABLE_LAYOUT if optimised else levels.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no common base for its errors
        raise ExportError(f"{path.name}: ONNX Runtime cannot open it: {first_line(error)}") from error
    inputs = tuple(_tensor(path.name, "input", node) for node in session.get_inputs())
    outputs = tuple(_tensor(path.name, "output", node) for node in session.get_outputs())
    names = [tensor.name for tensor in outputs]

    def run(given: Tensors) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(given)), strict=True))

    return OnnxSession(inputs, outputs, run)


def _tensor(file: str, kind: str, node: Any) -> GraphTensor:  # Any: the runtime is not typed
    if node.type not in _DATATYPES:
        expected = ", ".join(sorted(_DATATYPES.values()))
        raise ExportError(f"{file}: {kind} {node.name!r}: expected a tensor of {expected}, found {node.type}")
    axes = (None if axis == "" or (isinstance(axis, int) and axis < 0) else axis for axis in node.shape)
    return GraphTensor(node.name, _DATATYPES[node.type], tuple(axes))
