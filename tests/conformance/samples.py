"""For every datatype of the protocol an array at its ends, as tritonclient's users have it."""

from typing import Any

import ml_dtypes
import numpy as np

from models.tensors import Array
from tests import toys

_TEXTS = [["one", "", "ü€😀"], ["a\0b", '"\\', "x" * 1000]]


def _whole(dtype: Any) -> Array:  # Any: numpy's integer types share no type that iinfo takes
    limits = np.iinfo(dtype)
    return np.array([[limits.min, 0, 1], [limits.max, 2, 3]], dtype)


def _real(dtype: Any) -> Array:  # Any: as above, for finfo
    limits = np.finfo(dtype)
    return np.array([[limits.min, -0.0, limits.tiny], [limits.max, 1 / 3, 2]], dtype)


#: Two rows of three values each.
SAMPLES: dict[str, Array] = {
    "BOOL": np.array([[True, False, True], [False, False, True]]),
    **{
        datatype: _whole(dtype)
        for datatype, dtype in {
            "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
            "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
        }.items()
    },
    **{
        datatype: _real(dtype)
        for datatype, dtype in {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}.items()
    },
    "BF16": np.array([[-3.0e38, -0.0, 1e-38], [3.0e38, 1 / 3, 2]], ml_dtypes.bfloat16),
    "BYTES": np.array(_TEXTS, dtype=object),
}  # fmt: skip

#: What may be infinite or no number travels as it is where it travels as bytes.
STRANGE: dict[str, Array] = {
    "FP16": np.array([[np.nan, np.inf, -np.inf]], np.float16),
    "FP32": np.array([[np.nan, np.inf, -np.inf]], np.float32),
    "FP64": np.array([[np.nan, np.inf, -np.inf]], np.float64),
    "BF16": np.array([[np.nan, np.inf, -np.inf]], ml_dtypes.bfloat16),
}

#: Protocol and this server: FP16 and BF16 travel as bytes only.
BYTES_ONLY = {"FP16", "BF16"}

#: The toy of tests/toys.py.
IMAGES = toys.images(3)
LABELS = toys.LABELS


def same(found: Array, sent: Array) -> bool:
    """Tell whether an identity gave back what it was sent, bit for bit; texts come back as the bytes of their UTF-8."""
    if sent.dtype == object:
        return [str(text, "utf-8") if isinstance(text, bytes) else text for text in found.ravel()] == sent.ravel().tolist()
    return found.dtype == sent.dtype and found.shape == sent.shape and found.tobytes() == sent.tobytes()
