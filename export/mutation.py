"""Modules that write to their inputs: a file of one would write to the memory of a request, so it is not made."""

import torch

from export.exporter import ExportError, ExportSource


def refuse_writing(source: ExportSource) -> None:
    """Run the module once on the example; raise ExportError, without the format, if an input is another afterwards."""
    given = source.example()
    before = [tensor.numpy().tobytes() for tensor in given]
    with torch.no_grad():
        source.module(*given)
    for spec, tensor, bytes_before in zip(source.signature.inputs, given, before, strict=True):
        # As bytes: NaN is not equal to itself.
        if tensor.numpy().tobytes() != bytes_before:
            raise ExportError(f"the module writes to its input {spec.name!r}; have it write to {spec.name}.clone()")
