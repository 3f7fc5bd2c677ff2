"""Batches: samples cut into what single executions take, and their outputs put together again.

Samples are arrays whose first axis counts them, whatever the model: as rows of its batch axis where it has one; where it
has none, as whole requests, stacked, each of which runs alone and without that axis.
"""

from collections.abc import Sequence

import numpy as np

from export.exporter import Run
from models.tensors import Array, Signature, Tensors, rows_of

#: What stands for a batch size where there is no batch axis.
ALONE = 0


def cut(signature: Signature, samples: Tensors, batch_size: int) -> list[dict[str, Array]]:
    """Return the inputs of each execution, as views: batches of that size, the last perhaps smaller, or single requests."""
    count = len(next(iter(samples.values())))
    if not signature.batched:
        # The ellipsis keeps a scalar an array of no axes.
        return [{name: array[index, ...] for name, array in samples.items()} for index in range(count)]
    return [rows_of(samples, start, start + batch_size) for start in range(0, count, batch_size)]


def joined(signature: Signature, parts: Sequence[Array]) -> Array:
    """Return one output of all executions as one array; ValueError where shapes do not allow it."""
    return np.concatenate(parts) if signature.batched else np.stack(parts)


def run_all(run: Run, signature: Signature, samples: Tensors, *, batch_size: int) -> dict[str, Array]:
    """Return the outputs for all samples, given to `run` one execution after the other."""
    parts = [run(batch) for batch in cut(signature, samples, batch_size)]
    return {name: joined(signature, [part[name] for part in parts]) for name in parts[0]}
