"""The golden sample: real inputs with the eager model's answers, shipped inside each version.

Serving replays it before a version becomes ready, on another machine and with another runtime, and demands equal
decisions. So rows that are decided by rounding are left out.
"""

from pathlib import Path

import numpy as np

from export import batches, eager
from export.exporter import ExportError, ExportSource
from export.reference import Reference
from models.manifest import Golden
from models.repository import sha256_of
from models.tensors import Array, Tensors

FILENAME = "golden.npz"


def write(source: ExportSource, reference: Reference, folder: Path, *, agreeing: Array | None = None) -> Golden:
    """Write as many rows as one execution takes, or all there are, or one whole request; the same give the same bytes.

    `agreeing` are rows on which every artifact decides as the eager model does, which not all formats have to on others.
    Raise ExportError if no row is left, OSError where the disk refuses.
    """
    decided = np.ones(reference.rows, np.bool_) if agreeing is None else agreeing.copy()
    for output in reference.outputs.values():
        decided &= ~output.undecided.reshape(reference.rows, -1).any(axis=1)
    signature = source.signature
    rows = np.flatnonzero(decided)[: max(1, signature.max_batch_size)]
    if rows.size == 0:
        raise ExportError("golden sample: every sample has a decision that rounding could turn, or that an artifact turns")
    inputs: Tensors = {name: array[rows] for name, array in reference.inputs.items()}
    # Run anew, as the one batch that serving will replay.
    outputs: Tensors = eager.in_float32(source, inputs, batch_size=len(rows)).outputs
    if not signature.batched:
        (inputs,), (outputs,) = (batches.cut(signature, tensors, batches.ALONE) for tensors in (inputs, outputs))
    arrays = {f"input:{name}": array for name, array in inputs.items()}
    arrays |= {f"output:{name}": array for name, array in outputs.items()}
    path = folder / FILENAME
    np.savez(path, allow_pickle=False, **arrays)
    return Golden(FILENAME, sha256_of(path), path.stat().st_size, len(rows))
