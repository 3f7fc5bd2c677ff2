"""Whether the process is fit to go on: it says that it runs, and ends itself where an instance hangs for good.

Mostly the event loop looks after that itself. It cannot where it is the one that hangs, in a batch that it ran because such
batches had always been cheap: then a thread does.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from serving.metrics import Metrics

log = logging.getLogger(__name__)

#: The exit code of a process that ended because a backend hangs: sysexits' "internal software error". Whoever started
#: it, the supervisor or an orchestrator, starts another.
HANGS = 70


class Hanging(Protocol):
    """What may hang."""

    def hangs_for(self) -> float:
        """Return for how many seconds it has hung, 0 if it does not."""
        ...

    def abandon(self) -> None:
        """Let every request end, at once: the process is about to end."""
        ...


class Health:
    """Looks after one process, as often as it is asked to."""

    def __init__(self, engine: Hanging, metrics: Metrics, *, exit_seconds: float) -> None:
        self._engine = engine
        self._metrics = metrics
        self._exit_seconds = exit_seconds
        self._looked = time.monotonic()
        self.hangs = False

    def look(self) -> bool:
        """Say that the event loop runs; tell, once, that the process must end, after giving up what it had accepted.

        A thread inside a runtime cannot be ended from outside; only with its process.
        """
        self._looked = time.monotonic()
        self._metrics.beat()
        if self.hangs or self._engine.hangs_for() <= self._exit_seconds:
            return False
        self.hangs = True
        log.critical("event=process_hangs exit_code=%d", HANGS)
        self._engine.abandon()
        return True

    def watch(self, end: Callable[[int], object], *, every_seconds: float = 0.5) -> None:
        """Call `end` with the exit code, from a thread of its own, if an instance hangs and so does the loop that looks."""

        def look() -> None:
            while not self.hangs:
                time.sleep(every_seconds)
                silent = time.monotonic() - self._looked
                if silent > self._exit_seconds + every_seconds and self._engine.hangs_for() > self._exit_seconds:
                    log.critical("event=process_hangs exit_code=%d reason='and its event loop with it'", HANGS)
                    end(HANGS)
                    return

        threading.Thread(target=look, name="watchdog", daemon=True).start()
