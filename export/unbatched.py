"""A model whose rows look at each other, as one without a batch axis: it answers whole requests, each of which runs alone.

Nothing of one client may enter the answer of another. So such a model is published with `max_batch_size` 0: its first axis
is a free axis of the whole shape, a request is as many rows as it likes, and they are never joined with those of another.
"""

from dataclasses import replace

from export.exporter import ExportSource
from models.tensors import Signature, TensorSpec

#: Rows of one request: several, as one row cannot look at another, and an odd number that no other axis is likely to have.
_ROWS = 7


def without_batch_axis(source: ExportSource) -> ExportSource:
    """Return the same module on the same samples, several to a request; `source` has a batch axis."""
    signature = source.signature
    whole = Signature(
        inputs=tuple(_whole(spec) for spec in signature.inputs),
        outputs=tuple(_whole(spec) for spec in signature.outputs),
        max_batch_size=0,
    )
    rows = min(_ROWS, source.rows)
    requests = source.rows // rows
    samples = {
        name: array[: requests * rows].reshape(requests, rows, *array.shape[1:]) for name, array in source.samples.items()
    }
    return replace(source, signature=whole, samples=samples)


def _whole(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(None, *spec.shape))
