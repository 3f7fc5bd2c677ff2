"""Judging a replay in an arithmetic that is coarser than what was exported: by what the model decides.

The tolerance of an artifact is a multiple of the rounding of FP32, so TF32, FP16 and BF16 fail it by their nature. Where
they are configured, integers and booleans must still be equal: the labels, counts and places that people act on. Numbers
must have their type and shape and be finite where they were. A model that decides nothing has only numbers, and those are
held within some roundings of the largest of them.
"""

import numpy as np

from models.tensors import Array, Signature, TensorSpec

#: Half the distance between neighbours near 1: TF32 and FP16 keep 11 bits, BF16 keeps 8.
_ROUNDING = {"tf32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}

#: How many of them numbers may differ by where nothing is decided: 1.6 % of the largest, for BF16 12.5 %. Sums of rounded
#: products stay well within that, and a wrong layout, a lost scale or another row's answer does not.
_ROUNDINGS = 32

_NUMBERS = frozenset({"FP16", "FP32", "FP64", "BF16"})


def decides(signature: Signature) -> bool:
    """Tell whether a model has outputs that are decisions."""
    return any(not is_number(spec) for spec in signature.outputs)


def is_number(spec: TensorSpec) -> bool:
    """Tell whether an output is measured, not decided."""
    return spec.datatype in _NUMBERS


def unlike(spec: TensorSpec, found: Array, wanted: Array, *, precision: str, decided: bool) -> str | None:
    """Return how numbers cannot be the same ones rounded more coarsely, None where they may be.

    `decided` says that the model has decisions, which then are the judge of how near is near enough.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"has the type {found.dtype} and the shape {list(found.shape)}"
    ours, theirs = _float64(spec, found), _float64(spec, wanted)
    finite = np.isfinite(theirs)
    if not np.isfinite(ours[finite]).all():
        return "is not finite where it was"
    if decided or not finite.any():
        return None
    allowed = _ROUNDINGS * _ROUNDING[precision] * float(np.abs(theirs[finite]).max())
    difference = float(np.abs(ours[finite] - theirs[finite]).max())
    return f"differs by up to {difference:.3g}, allowed are {allowed:.3g} in {precision}" if difference > allowed else None


def _float64(spec: TensorSpec, array: Array) -> Array:
    if spec.datatype == "BF16":  # carried as its 16 bits, which are the upper half of an FP32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)
