"""CUDA through torch: which GPUs there are, streams, recordings, and a torch module opened on a GPU.

Each session has two streams that nobody else in the process has, one for copies, one to compute. That is more than speed:
what another session submitted to a stream while it records would be recorded instead of done, and cuBLAS keeps one
scratch memory a stream, which two recordings that run at once must not share.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import torch

from models.tensors import Signature
from serving.backends.arithmetic import TF32, Switch, turn_tf32
from serving.backends.base import BackendError, Execution
from serving.backends.buckets import buckets_of
from serving.backends.devices import CPU, cuda, index_of, missing, normalised
from serving.backends.executors import Eager, Recording, RecordingError, record
from serving.backends.pipeline import Event, Execute, Lanes, Pipeline
from serving.backends.staging import TORCH_DTYPES

log = logging.getLogger(__name__)

#: Runs before a recording: libraries choose their algorithms and take their memory in the first ones.
_WARM_UPS = 3

#: torch makes streams out of a pool of 32 a device and priority, in turn: after so many it has shown them all.
_POOL = 32
_COMPUTE, _COPIES = 0, -1

Made = TypeVar("Made")


class Leases(Generic[Made]):
    """Things that are made out of a pool in turn, each given to one at a time."""

    def __init__(self, *, pool: int) -> None:
        self._pool = pool
        self._leased: set[Hashable] = set()
        self._lock = threading.Lock()

    def take(self, make: Callable[[], Made], key: Callable[[Made], Hashable]) -> Made:
        """Return one that nobody has; raise BackendError where all are taken."""
        with self._lock:
            for _ in range(self._pool):
                made = make()
                if key(made) not in self._leased:
                    self._leased.add(key(made))
                    return made
        raise BackendError(f"device: expected at most {self._pool} instances of all models on one GPU, found one more")

    def give_back(self, key: Hashable) -> None:
        """Let somebody else have it."""
        with self._lock:
            self._leased.discard(key)


# The state of CUDA and of torch is the process's, so these are too: streams taken, one recording at a time, TF32 or not.
_STREAMS = Leases[torch.cuda.Stream](pool=_POOL)
_RECORDING = threading.Lock()
_TF32 = Switch(turn_tf32)


def devices() -> tuple[str, ...]:
    """Return where torch can compute here."""
    count = torch.cuda.device_count() if torch.version.cuda else 0
    return (CPU, *(cuda(index) for index in range(count)))


def check_device(device: str) -> str:
    """Return the one name of a device that is there; raise BackendError, with what was found, for another."""
    there, name = devices(), normalised(device)
    if name in there:
        return name
    why = ""
    if name is not None and len(there) == 1:
        why = f"torch {torch.__version__} " + ("finds no GPU" if torch.version.cuda else "is built without CUDA")
    raise BackendError(missing(device, there, why=why))


class CudaStream:
    """A stream of torch's, as a pipeline uses it."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.stream = stream

    def submit(self, work: Callable[[], None]) -> None:
        """Run a function with this stream as the current one."""
        with torch.inference_mode(), torch.cuda.stream(self.stream):
            work()

    def record(self) -> Event:
        """Return an event. Who waits for it sleeps: a thread that spins burns a core that others need."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self.stream)
        return event

    def wait(self, event: torch.cuda.Event) -> None:
        """Wait on the GPU; this thread goes on."""
        self.stream.wait_event(event)

    def synchronize(self) -> None:
        """Wait until it is idle."""
        self.stream.synchronize()


class _Graph:
    """A CUDA graph and the memory its outputs are in."""

    def __init__(self, graph: torch.cuda.CUDAGraph, outputs: Sequence[torch.Tensor]) -> None:
        self._graph = graph
        self.outputs = outputs

    def replay(self) -> None:
        """Launch all of it on the current stream."""
        self._graph.replay()


class Gpu:
    """One session's share of a GPU: two streams, until it is given back."""

    def __init__(self, index: int) -> None:
        self._device = torch.device("cuda", index)
        self._compute = self._take(_COMPUTE)
        try:
            self._copies = self._take(_COPIES)
        except BaseException:
            _STREAMS.give_back(_key(self._compute))
            raise
        self.compute, self.copies = CudaStream(self._compute), CudaStream(self._copies)
        self._pool: Any = None  # Any: a handle of torch's, of no type that it names

    def lanes(self) -> Lanes:
        """Return what a pipeline needs."""
        return Lanes(self.copies, self.compute, _pinned, self.memory)

    def memory(self, size_bytes: int) -> torch.Tensor:
        """Return bytes on the GPU, of the current stream's: nobody else's work can still be using them."""
        return torch.empty(size_bytes, dtype=torch.uint8, device=self._device)

    def record(self, run: Callable[[], Sequence[torch.Tensor]]) -> Recording:
        """Run a function often enough to be ready for it, and record it; to be called on the stream to compute on."""
        for _ in range(_WARM_UPS):
            run()
        self._compute.synchronize()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Thread-local: what other instances do meanwhile is allowed, and no part of it.
        with (
            _RECORDING,
            torch.cuda.graph(graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"),
        ):
            outputs = run()
        return _Graph(graph, outputs)

    def give_back(self) -> None:
        """Let other sessions have the streams. Nothing of this one's may be under way any more."""
        for stream in (self._compute, self._copies):
            _STREAMS.give_back(_key(stream))

    def _take(self, priority: int) -> torch.cuda.Stream:
        def make() -> torch.cuda.Stream:
            return torch.cuda.Stream(self._device, priority=priority)  # type: ignore[no-untyped-call]

        return _STREAMS.take(make, _key)


class CudaSession(Pipeline):
    """A torch module on a GPU."""

    def __init__(self, signature: Signature, gpu: Gpu, execute: Execute, *, buckets: tuple[int, ...]) -> None:
        super().__init__(signature, gpu.lanes(), execute, buckets=buckets)
        self._gpu = gpu

    def close(self) -> None:
        """Free the module and its memory, and then the streams."""
        try:
            super().close()
        finally:
            self._gpu.give_back()


class CudaOpener:
    """Opens modules of one artifact on GPUs. What is wrong with recording it is logged once, not once an instance."""

    def __init__(self) -> None:
        self._told = False

    def open(
        self, module: Any, signature: Signature, *, device: str, execution: Execution, name: str
    ) -> CudaSession:  # Any: torch.jit and torch.fx type no modules
        """Return a session for a module whose weights are on the device already; raise BackendError."""
        index = index_of(device)
        if index is None or any(spec.datatype not in TORCH_DTYPES for spec in (*signature.inputs, *signature.outputs)):
            raise BackendError(f"{name}: expected numbers in and out of a GPU, found a tensor of BYTES")
        gpu = Gpu(index)
        try:
            position = execution.precision == TF32
            execute: Execute = Eager(module, lambda: _TF32.held(position))
            buckets = buckets_of(signature, execution.batch_buckets)
            if buckets:
                execute, buckets = self._recorded(execute, signature, buckets, gpu, name)
            return CudaSession(signature, gpu, execute, buckets=buckets)
        except Exception as error:  # torch raises RuntimeError, OutOfMemoryError and errors of CUDA's
            gpu.give_back()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BackendError(f"{name}: cannot be opened on {device}: {reason}") from error

    def _recorded(
        self, run: Execute, signature: Signature, buckets: tuple[int, ...], gpu: Gpu, name: str
    ) -> tuple[Execute, tuple[int, ...]]:
        """Return recordings and their buckets; the module itself, and no buckets, where it cannot be recorded."""
        recorded: list[Execute] = []
        try:
            gpu.compute.submit(
                lambda: recorded.append(record(run, signature, buckets, memory=gpu.memory, recorder=gpu.record))
            )
        except RecordingError as error:
            if not self._told:
                self._told = True
                log.warning("event=cuda_graphs_off artifact=%s reason=%r", name, str(error))
            return run, ()
        return recorded[0], buckets


def _pinned(size_bytes: int) -> torch.Tensor:
    """Return bytes of host memory that a GPU reads and writes by itself, beside what the processor does."""
    return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=True)


def _key(stream: torch.cuda.Stream) -> Hashable:
    return stream.device, stream.cuda_stream
