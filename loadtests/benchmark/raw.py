"""The session alone, in a process of one thread: what no server can do better.

`python -m loadtests.benchmark.raw MODEL.onnx` reads lines `BATCH SECONDS`, runs batches of so many rows for so long, and
answers each line with rows, seconds and processor seconds. Between lines it waits and uses nothing.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark.session import images, open_session, run
from loadtests.benchmark.side import ROOT, CannotRun

BATCHES = (1, 8, 32, 64)
PROCESSES = (1, 2)


@dataclass(frozen=True, slots=True)
class Raw:
    """So many processes at once with batches of one size: rows per second of all, processor time per row."""

    model: str
    processes: int
    batch: int
    rows_per_second: float
    cpu_us_per_row: float


class RawSessions:
    """Processes that each hold one session of a model."""

    def __init__(self, model: str, processes: "Sequence[subprocess.Popen[str]]") -> None:
        self._model = model
        self._processes = processes

    def measure(self, processes: int, batch: int, *, seconds: float) -> Raw:
        """Have so many of them run at once."""
        asked = self._processes[:processes]
        for process in asked:
            _say(process, f"{batch} {seconds}")
        answers = [_hear(process) for process in asked]
        return Raw(
            self._model,
            processes,
            batch,
            rows_per_second=sum(rows / took for rows, took, _ in answers),
            cpu_us_per_row=sum(cpu for *_, cpu in answers) / sum(rows for rows, *_ in answers) * 1e6,
        )


@contextlib.contextmanager
def opened(model: str, file: Path) -> Iterator[RawSessions]:
    """Have as many processes with a session as are measured at once, until the block ends."""
    command = [sys.executable, "-m", "loadtests.benchmark.raw", str(file)]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(max(PROCESSES)):
            process = subprocess.Popen(  # noqa: S603 - our own words
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)  # it may be in the middle of a measurement that nobody waits for
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise CannotRun(f"raw session: the process did not open {file}")
        yield RawSessions(model, processes)


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None  # noqa: S101 - it was made with a pipe
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> tuple[int, float, float]:
    assert process.stdout is not None  # noqa: S101 - it was made with a pipe
    words = process.stdout.readline().split()
    if len(words) != 3:
        raise CannotRun(f"raw session: expected three figures, found {words}")
    return int(words[0]), float(words[1]), float(words[2])


def _serve(file: str) -> None:
    """Answer lines from standard input until its end."""
    session = open_session(file)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        given, rows = images(batch), 0
        run(session, given)
        began, spent = time.perf_counter(), time.process_time()
        while (took := time.perf_counter() - began) < seconds or not rows:
            run(session, given)
            rows += batch
        sys.stdout.write(f"{rows} {took} {time.process_time() - spent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
