"""The model as everybody runs it: its names and shapes, and the session, the same for every side.

Only numpy and the runtime are imported here, for peers run in environments that have nothing else of ours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

MODEL = "benchmark"
INPUT, OUTPUT = "image", "probabilities"
SIDE, CLASSES, BATCH_ROWS = 28, 10, 64


def images(rows: int) -> npt.NDArray[np.float32]:
    """Return images that all differ."""
    return np.random.default_rng(1).random((rows, SIDE, SIDE), dtype=np.float32)


def open_session(path: Path | str) -> Any:  # Any: the runtime is not typed
    """Return the session as every side has it: one thread, and no core burnt while there is nothing to do."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session: Any, given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:  # Any: the runtime is not typed
    """Return the probabilities of images."""
    found: npt.NDArray[np.float32] = session.run([OUTPUT], {INPUT: given})[0]
    return found
