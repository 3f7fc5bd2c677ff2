"""One artifact in a process of its own, timed on demand: what `profile.py` starts, one for each artifact and thread count.

A process of its own has the threads it was told to have and no memory but what this artifact needs. It hears one command
at a time and is otherwise idle, so that whoever measures can let several take turns.

    parent → child    {"rows", "seconds", "calls"} time calls · {"memory"} · the end of the pipe: end
    child → parent    {"ready"} · {"seconds": [[…], …]} per instance · {"peak_bytes", "session_bytes"} · {"error"}

JSON and no pickles: opening TorchScript may run code, and it is to have no way into the parent.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from export.exporter import Run, first_line
from export.opening import NotHere, opened
from models.repository import ModelVersion, Repository, RepositoryError
from models.tensors import Signature, Tensors

Message = Mapping[str, Any]  # Any: JSON of our own

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Job:
    """What a child opens: an artifact of a version, which it checks once more, in so many sessions of so many threads."""

    root: str
    model: str
    number: int
    digest: str
    format: str
    threads: int
    instances: int = 1


def main(job: Job, pipe: Connection) -> None:
    """Open the artifact and do what is asked until the parent has gone; whatever goes wrong is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which ends us
    with pipe, suppress(EOFError, OSError):
        try:
            answer = _prepared(job)
        except Exception as error:  # noqa: BLE001 - each runtime has errors of its own; the parent shows the line
            known = isinstance(error, NotHere | RepositoryError)
            _send(pipe, {"error": str(error) if known else first_line(error)})
            return
        _send(pipe, {"ready": True})
        while True:
            command = json.loads(pipe.recv_bytes())
            try:
                _send(pipe, answer(command))
            except Exception as error:  # noqa: BLE001 - likewise: a batch may be more than the runtime can hold
                _send(pipe, {"error": first_line(error)})


def batch_of(signature: Signature, golden: Tensors, rows: int) -> Tensors:
    """Return so many rows of the golden inputs, over and over; for a model without a batch axis its request as it is."""
    if not signature.batched:
        return golden
    known = len(next(iter(golden.values())))
    return {name: array[np.arange(rows) % known] for name, array in golden.items()}


def _prepared(job: Job) -> Callable[[Message], Message]:
    """Open what is to be timed, and return what answers commands."""
    version = Repository(Path(job.root)).open(job.model, job.number)
    if version.digest != job.digest:
        raise RepositoryError(f"{job.model}/{job.number}: it was replaced while it was measured")
    golden = version.golden()[0]
    _import_runtime(version, job)
    before = _kilobytes("VmRSS")
    artifact = next(one for one in version.manifest.artifacts if one.format == job.format)
    runs = [opened(version, artifact, threads=job.threads) for _ in range(job.instances)]
    signature = version.manifest.signature

    def answer(command: Message) -> Message:
        if "memory" in command:
            peak = _kilobytes("VmHWM")
            return {"peak_bytes": peak * 1024, "session_bytes": max(0, peak - before) * 1024}
        batch = batch_of(signature, golden, command["rows"])
        return {"seconds": _together(runs, batch, command["seconds"], command["calls"], job.threads)}

    return answer


def _import_runtime(version: ModelVersion, job: Job) -> None:
    """Import what runs the format before memory is first looked at: it is the runtime's, not the session's."""
    with suppress(ImportError):  # which is told where the artifact is opened
        if version.artifact_path(next(a for a in version.manifest.artifacts if a.format == job.format)).suffix == ".onnx":
            import onnxruntime  # noqa: F401
        else:
            import torch  # noqa: F401


def _together(runs: list[Run], batch: Tensors, seconds: float, calls: int, threads: int) -> list[list[float]]:
    """Time calls in all instances at once, each in its thread, as serving runs them; raise what a call raises."""
    if len(runs) == 1:
        return [_timed(runs[0], batch, seconds, calls, threads)]
    taken: list[list[float]] = [[] for _ in runs]
    errors: list[Exception] = []
    begin = threading.Barrier(len(runs))

    def work(number: int) -> None:
        try:
            begin.wait()
            taken[number] = _timed(runs[number], batch, seconds, calls, threads)
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that was asked
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(runs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return taken


def _timed(run: Run, batch: Tensors, seconds: float, calls: int, threads: int) -> list[float]:
    """Return what each of so many calls took, at least one, at most those that begin within the time."""
    if (torch := sys.modules.get("torch")) is not None:
        # In this very thread, as torch counts: what `open` sets around each call is then what is there already.
        torch.set_num_threads(threads)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < calls:
        began = time.perf_counter()
        run(batch)
        now = time.perf_counter()
        taken.append(now - began)
        if now >= end:
            break
    return taken


def _kilobytes(what: str) -> int:
    """Return a figure of this process's memory. Not getrusage's maximum: that one survives an exec, and is the parent's."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1])


def _send(pipe: Connection, message: Message) -> None:
    pipe.send_bytes(json.dumps(message).encode())
