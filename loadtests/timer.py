"""Sleeping until a moment, to some ten microseconds: gevent's own sleep is rounded up to whole milliseconds by epoll.

An open load counts latencies from when a request should have been sent, so what the generator sleeps too long would be
the server's. Linux has timers that are files (timerfd), and gevent can wait for a file; elsewhere its sleep has to do.
"""

import ctypes
import os
import time
from typing import Any

import gevent


class _Spec(ctypes.Structure):
    """struct itimerspec: an interval, which is 0, and when to fire."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


_MONOTONIC = 1  # CLOCK_MONOTONIC, which is Python's time.monotonic on Linux
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class Timer:
    """Sleeps one greenlet at a time."""

    def __init__(self) -> None:
        self._file = -1
        self._watcher: Any = None  # gevent is not typed
        try:
            self._library = ctypes.CDLL(None, use_errno=True)
            self._file = self._library.timerfd_create(_MONOTONIC, _NONBLOCK_CLOEXEC)
        except (AttributeError, OSError):  # another kind of system
            return
        if self._file >= 0:
            self._watcher = gevent.get_hub().loop.io(self._file, 1)

    def sleep_until(self, moment: float) -> None:
        """Let other greenlets run until a moment of time.monotonic()."""
        ahead = moment - time.monotonic()
        if ahead <= 0:
            return
        if self._watcher is None:
            gevent.sleep(ahead)
            return
        seconds, fraction = divmod(moment, 1.0)
        spec = _Spec(0, 0, int(seconds), int(fraction * 1e9))
        if self._library.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            gevent.sleep(ahead)
            return
        gevent.get_hub().wait(self._watcher)
        os.read(self._file, 8)  # how often it fired: once

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
