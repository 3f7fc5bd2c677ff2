"""The process that publish_faults.py lets publish, and that is disturbed while it does.

    python -m proofs.publish_child ROOT MODEL_FILE SEED FAULT POINT

It writes an artifact and a golden sample and publishes them, by the calls that export makes. Every call of Python into the
operating system's files (open, write, flush, lock, rename, …) is a step. FAULT says what becomes of step POINT: `kill`, the
process is killed before it; `ENOSPC` or `EIO`, the call fails with that error, and only this one, so that an error which is
swallowed shows; `EFBIG`, the system itself cuts every file off at POINT bytes. `none` counts the steps. Exit code 0:
published; 3: it was told that this is not possible.
"""

import errno
import os
import resource
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import numpy as np

from models.manifest import Artifact, Golden, Manifest, Origin, ParityReport
from models.repository import Repository, RepositoryError, sha256_of
from models.tensors import Signature, TensorSpec

MODEL = "victim"
REFUSED = 3

#: What the model does: y = x × the seed's factor. It is published with these rows.
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)

#: Modules whose C functions are the way to the disk; `io` opens files, and what it opens is of `_io`.
_FILES = {"posix", "io", "_io", "fcntl"}
_FILE_TYPES = {"FileIO", "BufferedWriter", "BufferedReader", "BufferedRandom", "TextIOWrapper", "ScandirIterator"}
#: Calls that touch no disk: they cannot fail with these errors, and would only thin the points out.
_HARMLESS = {"fspath", "fsdecode", "fsencode", "tell", "seekable", "readable", "writable", "getpid", "fileno", "urandom"}


def factor(seed: int) -> float:
    """Return what the model of a seed multiplies by."""
    return 1.0 + seed


def publish(root: Path, model_file: Path, seed: int) -> None:
    """Publish the model file as the next version; raise RepositoryError or OSError."""
    data = model_file.read_bytes()
    repository = Repository(root)
    with repository.staging(MODEL) as staged:
        path, golden = staged / "model.onnx", staged / "golden.npz"
        path.write_bytes(data)
        np.savez(golden, allow_pickle=False, **{"input:x": ROWS, "output:y": ROWS * np.float32(factor(seed))})
        parity = ParityReport("onnx", (1, 4), len(ROWS), ())
        manifest = Manifest(
            model=MODEL,
            version=0,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            signature=Signature((TensorSpec("x", "FP32", (3,)),), (TensorSpec("y", "FP32", (3,)),), len(ROWS)),
            content=None,
            artifacts=(Artifact("onnx", path.name, sha256_of(path), path.stat().st_size, {"y": 0.0}, parity),),
            golden=Golden(golden.name, sha256_of(golden), golden.stat().st_size, rows=len(ROWS)),
            checkpoint="0" * 64,
            origin=Origin(MODEL, "0" * 64, seed, {}, {}, {}, None, None),
        )
        repository.publish(staged, manifest)


class Steps:
    """Counts the steps of this process, and disturbs the one that is wanted. It is the process's profiler."""

    def __init__(self, fault: str, point: int) -> None:
        self.taken = 0
        self._fault, self._point = fault, point

    # object: what is called may be anything.
    def __call__(self, frame: FrameType, event: str, called: object) -> None:
        """Take note of a call that is about to be made; what is raised here is raised by that call."""
        if event != "c_call" or not _is_step(called):
            return
        self.taken += 1
        if self.taken != self._point:
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault in ("ENOSPC", "EIO"):
            number = getattr(errno, self._fault)
            raise OSError(number, os.strerror(number))


def _is_step(called: object) -> bool:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    if name in _HARMLESS:
        return False
    module = getattr(called, "__module__", None)
    return module in _FILES or type(owner).__name__ in _FILE_TYPES


def main() -> int:
    """Publish, disturbed; print the number of steps taken."""
    root, model_file, seed, fault, point = sys.argv[1:]
    if fault == "EFBIG":
        # Python ignores the signal that comes with it, so that a write fails as on a full disk, in the middle of a file.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(point), int(point)))
    steps = Steps(fault, int(point))
    sys.setprofile(steps)
    try:
        publish(Path(root), Path(model_file), int(seed))
        code = 0
    except (OSError, RepositoryError) as error:
        code = REFUSED
        sys.stderr.write(f"{error}\n")
    finally:
        sys.setprofile(None)
    print(steps.taken)
    return code


if __name__ == "__main__":
    sys.exit(main())
