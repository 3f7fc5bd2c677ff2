"""The engine of several front ends, in a process of its own: `python -m serving.engine_process LINK`, by the supervisor.

It has the models, and has never heard of HTTP. It ends when every front end has: they finish what they have accepted, and
need it for that; so a signal that a service manager sends to all processes at once does no harm.
"""

import asyncio
import functools
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

from models.signing import SigningError
from serving.counters import Counters
from serving.engine.delegate import Delegate
from serving.engine.deputy import Deputy
from serving.engine.door import Door
from serving.engine.host import Host
from serving.engine.link import Link
from serving.engine.local import LocalEngine
from serving.health import HANGS, Health
from serving.metrics import Metrics
from serving.process import begin_logging, end, engine_of
from serving.settings import Settings
from serving.worker import CANNOT_FOLLOW

log = logging.getLogger("serving.engine_process")  # and not __main__, which it is run as

#: As often as a front end looks whether all is well.
_TICK_SECONDS = 0.1
#: To send the last answers, which are there.
_SEND_SECONDS = 1.0
#: Beyond what front ends have to drain. One that hangs must not keep this process for ever, should the supervisor be gone.
_GRACE_SECONDS = 5.0


def main(words: Sequence[str]) -> int:
    """Serve until a signal has come and the front ends have gone; return the exit code."""
    link = Link(socket.socket(fileno=int(words[0])))
    facts = next(link.receive(), None)
    if facts is None:  # the supervisor has ended in this very moment
        return CANNOT_FOLLOW
    settings = Settings(**facts["settings"])
    begin_logging(settings, who=f"engine={facts['number']}")

    metrics = Metrics(Counters(descriptor=facts["counters"]), region=facts["number"])
    try:
        engine = engine_of(settings, metrics)
    except SigningError as error:  # a file has changed since the supervisor read it
        log.error("event=cannot_start reason=%r", str(error))
        return CANNOT_FOLLOW
    life = engine.management
    ends = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    delegate = Delegate(link, known=life.known, obey=Deputy(link, life).obey, on_end=ends)
    wanted = {name: None if versions is None else tuple(versions) for name, versions in facts["wanted"].items()}

    def load() -> None:
        engine.load_all(wanted)
        delegate.start()

    return EngineProcess(settings, engine, metrics, Door(socket.socket(fileno=facts["door"]))).run(load)


class EngineProcess:
    """Runs an engine for its front ends."""

    def __init__(self, settings: Settings, engine: LocalEngine, metrics: Metrics, door: Door) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._host = Host(engine, door, self._loop)
        self._health = Health(engine, metrics, exit_seconds=settings.hang_exit_seconds)
        self._drain_seconds = settings.drain_seconds
        self._patience_seconds = settings.drain_delay_seconds + settings.drain_seconds + _GRACE_SECONDS
        self._stop_at: float | None = None

    def run(self, load: Callable[[], None]) -> int:
        """Serve, while `load` opens the models in a thread of its own; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        # What is here by now stays to the end: it need not be looked through again and again.
        gc.collect()
        gc.freeze()
        self._health.watch(end)
        threading.Thread(target=load, name="load", daemon=True).start()
        self._loop.run_until_complete(self._serve())
        if not self._health.hangs:
            self._engine.close(drain_seconds=self._drain_seconds)
        self._host.finish(_SEND_SECONDS)
        log.info("event=stopped")
        return HANGS if self._health.hangs else 0

    async def _serve(self) -> None:
        while not self._health.look() and not self._over():
            self._host.look()
            await asyncio.sleep(_TICK_SECONDS)

    def _over(self) -> bool:
        """Tell whether it is time to end: it was said, and nobody is there any more, or it was long ago."""
        return self._stop_at is not None and (not self._host.connected or time.monotonic() >= self._stop_at)

    def _stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._patience_seconds


if __name__ == "__main__":
    end(main(sys.argv[1:]))
