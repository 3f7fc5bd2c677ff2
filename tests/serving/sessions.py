"""Sessions that misbehave on purpose. Their one model doubles `x`, FP32 [N, 2], as `y`."""

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.tensors import Array, Signature, Tensors, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),), max_batch_size=8)

#: Longer than any test may take: whoever waits so long has been forgotten.
PATIENCE = 20.0


def double(inputs: Tensors) -> Tensors:
    return {"y": inputs["x"] * 2}


class FakeSession:
    """Runs a function on its one input, and keeps what it was given."""

    def __init__(self, run: Callable[[Tensors], Tensors] = double, *, dtype: npt.DTypeLike = np.float32) -> None:
        self._run = run
        self._dtype = dtype
        self.batches: list[Array] = []
        self.closed = False

    def allocate(self, name: str, shape: tuple[int, ...]) -> Array:
        return np.empty(shape, self._dtype)

    def run(self, inputs: Tensors) -> Tensors:
        assert not self.closed
        self.batches.extend(inputs.values())
        return self._run(inputs)

    def close(self) -> None:
        self.closed = True


class Gate(FakeSession):
    """Holds every run until it is opened; `entered` tells that a run has begun."""

    def __init__(self, run: Callable[[Tensors], Tensors] = double, *, dtype: npt.DTypeLike = np.float32) -> None:
        super().__init__(run, dtype=dtype)
        self.entered = threading.Event()
        self.opened = threading.Event()

    def run(self, inputs: Tensors) -> Tensors:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        return super().run(inputs)


def rows(*numbers: float) -> Array:
    """Return an input whose every row names itself."""
    return np.array([[number, -number] for number in numbers], np.float32)
