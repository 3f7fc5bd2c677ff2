"""Half precision: the ONNX file with its arithmetic in float16, `model.fp16.onnx`, for GPUs, which do it at twice the speed.

Inputs and outputs keep the datatypes of the signature. A processor gains nothing from it: ONNX Runtime's CPU kernels are
mostly float32, between which it casts. What is rounded to 11 bits is not the eager model any more: `by_task.py` judges it.
"""

import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.exporter import ExportError, ExportSource, Run, first_line
from export.onnx import OnnxExporter
from export.onnx_bytes import anonymous
from export.quiet import quiet
from models.tensors import Signature


class OnnxFp16Exporter:
    """eager module → model.fp16.onnx"""

    format = "onnx_fp16"
    filename = "model.fp16.onnx"

    def export(self, source: ExportSource, path: Path) -> None:
        """Export to ONNX, turn the graph's arithmetic into float16 where the standard allows it, and save it as one file."""
        try:
            with tempfile.TemporaryDirectory(prefix="sameway-") as folder, quiet():
                plain = Path(folder) / "plain.onnx"
                OnnxExporter().export(source, plain)
                model = onnx.load(plain)
                if not any(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer):
                    raise ExportError("expected weights in float32, found none; 16 bits would gain nothing")
                data = anonymous(_in_order(convert_float_to_float16(model, keep_io_types=True)))
        except ExportError as error:
            raise ExportError(f"onnx_fp16: {str(error).removeprefix('onnx: ')}") from error
        except Exception as error:
            raise ExportError(f"onnx_fp16: the graph cannot be turned into float16: {first_line(error)}") from error
        path.write_bytes(data)

    def open(self, path: Path, signature: Signature, *, threads: int = 1) -> Run:
        """Load with ONNX Runtime."""
        return OnnxExporter().open(path, signature, threads=threads)


def _in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its nodes after what they use, as ONNX demands: casts of inputs are appended at its end."""
    ordered = ir.from_proto(model)
    ordered.graph.sort()
    return ir.to_proto(ordered)
