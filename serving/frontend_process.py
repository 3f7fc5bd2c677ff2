"""A front end of several, in a process of its own: `python -m serving.frontend_process LINK`, started by the supervisor.

It reads and writes HTTP, and has no models: they are in the engine's process, for all front ends.
"""

import functools
import os
import signal
import socket
import sys
from collections.abc import Sequence

from models.repository import Repository
from serving.counters import Counters
from serving.engine.delegate import Delegate
from serving.engine.door import Door
from serving.engine.link import Link, Message
from serving.engine.remote import RemoteEngine
from serving.engine.wanted import require
from serving.keys import KeysError
from serving.metrics import Metrics
from serving.observers import ObserverError
from serving.process import begin_logging, end, front_end, log, serve, tls_of, wire
from serving.settings import Settings
from serving.worker import CANNOT_FOLLOW

#: How long one that takes another's place lets the engine tell what it serves before it listens: milliseconds, where there
#: is an engine. Where there is none for longer, somebody has to say so.
_PATIENCE_SECONDS = 5.0


def main(words: Sequence[str]) -> int:
    """Serve until a signal comes, or the supervisor is gone; return the exit code."""
    link = Link(socket.socket(fileno=int(words[0])))
    facts = next(link.receive(), None)
    if facts is None:  # the supervisor has ended in this very moment
        return CANNOT_FOLLOW
    settings = Settings(**facts["settings"])
    begin_logging(settings, who=f"frontend={facts['number']}")

    counters = Counters(descriptor=facts["counters"])
    metrics = Metrics(counters, region=facts["number"])
    # Without a supervisor nobody would replace this process: it finishes what it has accepted, and ends.
    ends = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    engine = RemoteEngine(Door(socket.socket(fileno=facts["door"])), metrics, on_fault=ends)
    repository = Repository(settings.repository)

    def known(model: str) -> None:
        if not engine.knows(model):
            require(repository, model, only=settings.models)

    delegate = Delegate(link, known=known, obey=_obey, on_end=ends)
    try:
        wired = wire(settings, engine, metrics, management=delegate)
    except (KeysError, ObserverError) as error:  # a file has changed since the supervisor read it
        log.error("event=cannot_start reason=%r", str(error))
        return CANNOT_FOLLOW
    listeners = [socket.socket(fileno=descriptor) for descriptor in facts["listeners"]]
    app = front_end(settings.frontend, wired)
    # The first ones answer at once that they are alive, and not ready. One that takes another's place must not be noticed.
    begin = functools.partial(engine.begin, _PATIENCE_SECONDS if facts["replaces"] else 0.0)
    return serve(
        settings, app, wired, listeners,
        load=delegate.start, tls=tls_of(settings), begin=begin, patient=True,
    )  # fmt: skip


def _obey(message: Message) -> None:
    """Take what the supervisor says to processes with models, which it does not say here."""
    log.error("event=not_for_front_ends message=%r", message)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
