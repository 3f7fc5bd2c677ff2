"""Eight bits: the ONNX file with its weights and activations as integers, `model.int8.onnx`, for processors.

Static quantization: what range each activation has is observed beforehand, on real samples that are not those it is judged
by. Weights have a scale for each output channel. The file is ordinary ONNX (QDQ form: pairs of QuantizeLinear and
DequantizeLinear around what the runtime then computes in integers). It is not the eager model any more, so parity cannot
judge it: `by_task.py` does.
"""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.exporter import ExportError, ExportSource, Run, first_line
from export.onnx import OnnxExporter
from export.onnx_bytes import anonymous
from export.quiet import quiet
from models.tensors import Array, Signature, Tensors, rows_of

#: Operators that are computed in integers, and those that integers pass through on their way between them. Others, such as a
#: softmax or the normalisation of an input, are cheap and stay in float32.
_OPERATORS = ["Conv", "MatMul", "Gemm", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Add"]

#: What of those has weights; a graph without any gains nothing.
_WITH_WEIGHTS = {"Conv", "MatMul", "Gemm", "QLinearConv"}

#: Input channels below which a convolution is faster in float32.
_LEAST_CHANNELS = 4

#: Rows that run at once while ranges are observed.
_CALIBRATION_BATCH = 32


class OnnxInt8Exporter:
    """eager module → model.int8.onnx"""

    format = "onnx_int8"
    filename = "model.int8.onnx"

    def export(self, source: ExportSource, path: Path) -> None:
        """Export to ONNX, observe activations on the calibration samples, and save the quantized graph as one file."""
        if source.calibration is None:
            raise ExportError("onnx_int8: expected samples to calibrate on, found none but those that it is judged by")
        try:
            with tempfile.TemporaryDirectory(prefix="sameway-") as folder, quiet():
                plain, ready, done = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "done.onnx"))
                OnnxExporter().export(source, plain)
                quant_pre_process(plain, ready, skip_symbolic_shape=True)
                _check_weights(onnx.load(ready))
                left = _left_in_float(onnx.load(ready))
                quantize_static(
                    ready,
                    done,
                    _Reader(source.signature, source.calibration),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=_OPERATORS,
                    nodes_to_exclude=left,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    # 7 bits for weights. With 8, two products overflow 16 bits on processors without VNNI, which then
                    # saturate and answer otherwise: the file must say the same on every one.
                    reduce_range=True,
                )
                data = anonymous(onnx.load(done))
        except ExportError as error:
            raise ExportError(f"onnx_int8: {str(error).removeprefix('onnx: ')}") from error
        except Exception as error:
            raise ExportError(f"onnx_int8: the graph cannot be quantized: {first_line(error)}") from error
        path.write_bytes(data)

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load with ONNX Runtime."""
        return OnnxExporter().open(path, signature, threads=threads)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the runtime is not typed
    """Gives the calibration samples, a batch at a time."""

    def __init__(self, signature: Signature, samples: Tensors) -> None:
        size = min(_CALIBRATION_BATCH, max(1, signature.max_batch_size))
        count = len(next(iter(samples.values())))
        starts = range(0, count, size)
        if signature.batched:
            self._batches = iter([rows_of(samples, start, start + size) for start in starts])
        else:
            self._batches = iter([{name: array[index, ...] for name, array in samples.items()} for index in range(count)])

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, None after the last."""
        return next(self._batches, None)


def _left_in_float(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions of few channels, an image's first one above all.

    Integer kernels work on channels four at a time. With its first convolution, of a single one, in integers, digits took
    1.4 times as long as in float32; without, 0.6 times. Depthwise convolutions have kernels of their own.
    """
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}

    def thin(node: onnx.NodeProto) -> bool:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        return groups == 1 and node.input[1] in weights and weights[node.input[1]][1] < _LEAST_CHANNELS

    return [node.name for node in model.graph.node if node.op_type == "Conv" and thin(node)]


def _check_weights(model: onnx.ModelProto) -> None:
    """Raise ExportError for a graph in which nothing would be quantized."""
    left = set(_left_in_float(model))
    found = {node.op_type for node in model.graph.node if node.name not in left}
    if not found & _WITH_WEIGHTS:
        raise ExportError("expected a convolution or a matrix product with weights, found none; 8 bits would gain nothing")
