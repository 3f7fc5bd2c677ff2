"""`sameway …` in a process of its own that need not import torch and Lightning first.

That takes seconds, most of what a small command takes. So each is forked off a process that has imported what others wrote
and nothing of ours, and has no thread but one; all else is as in a shell: folder, variables, streams, exit code.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Not ONNX Runtime: it starts a thread, and who forks beside a thread may take over a lock that it holds.
_OTHERS = (
    "torch", "lightning.pytorch", "torchmetrics", "sklearn.datasets", "onnx", "onnxscript",
    "torch.onnx._internal.exporter._core", "torch.onnx._internal.exporter._torchlib.ops",
    "onnxscript.function_libs.torch_lib.ops", "optuna",
)  # fmt: skip
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(_OTHERS))


def run(
    words: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None, timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Run `sameway` with these words; raises TimeoutExpired, as `subprocess.run` does, for one that took longer."""
    with tempfile.TemporaryDirectory() as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        process = _forks.Process(
            target=_sameway,
            args=(list(words), str(folder), dict(os.environ if environment is None else environment), out, err),
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["sameway", *words], timeout, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(["sameway", *words], process.exitcode, out.read_text(), err.read_text())


def _sameway(words: list[str], folder: str, environment: dict[str, str], out: Path, err: Path) -> None:
    for stream, target, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        opened = os.open(target, flags | os.O_CREAT)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["sameway", *words]
    # As an interpreter would have it that begins with these variables.
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    import cli

    sys.exit(cli.main(words))
