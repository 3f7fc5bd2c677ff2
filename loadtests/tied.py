"""A process that does not outlive whoever started it: it holds the reading end of a pipe, and ends with the other one.

The kernel closes a pipe of a process however that has ended, with SIGKILL too. The generator of a load is tied in this way,
and so is the server that `--tune` starts, by this file as a program:

    python -m loadtests.tied cli serve …      the module, and what it is given
"""

import _thread
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable

#: Whoever was asked to end and does not is ended: a server drains in less.
_PATIENCE_SECONDS = 15.0


def tie(end: Callable[[], None], *, start_thread: Callable[..., object] = _thread.start_new_thread) -> None:
    """Call `end`, in a thread of its own, when standard input comes to its end."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        end()

    start_thread(wait, ())


def _end_in_order() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    tie(_end_in_order)
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
