"""Whether the process is fit to go on: it says that it runs, and ends itself where an instance hangs for good."""

import logging
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
        self.hangs = False

    def look(self) -> bool:
        """Say that the event loop runs; tell, once, that the process must end, after giving up what it had accepted.

        A thread inside a runtime cannot be ended from outside; only with its process.
        """
        self._metrics.beat()
        if self.hangs or self._engine.hangs_for() <= self._exit_seconds:
            return False
        self.hangs = True
        log.critical("event=process_hangs exit_code=%d", HANGS)
        self._engine.abandon()
        return True
