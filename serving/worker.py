"""A worker: one complete server in a process of its own, started by the supervisor with `python -m serving.worker FACTS`.

It listens on sockets it has inherited, counts in memory it shares, and is managed over a link.
"""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

from serving.counters import Counters
from serving.engine.delegate import Delegate
from serving.engine.link import Link
from serving.keys import KeysError
from serving.metrics import Metrics
from serving.observers import ObserverError
from serving.process import begin_logging, engine_of, front_end, serve, tls_of, wire
from serving.settings import Settings

log = logging.getLogger(__name__)

#: The exit code of a worker that could not open what the others serve: sysexits' "temporary failure".
CANNOT_FOLLOW = 75


def main(words: Sequence[str]) -> int:
    """Serve until a signal comes, or the supervisor is gone; return the exit code."""
    facts = json.loads(words[0])
    settings = Settings(**facts["settings"])
    begin_logging(settings, worker=facts["number"])
    link = Link(socket.socket(fileno=facts["link"]))

    metrics = Metrics(Counters(descriptor=facts["counters"]), region=facts["number"])
    # Without a supervisor nobody would replace this process: it finishes what it has accepted, and ends.
    engine = engine_of(settings, metrics)
    delegate = Delegate(link, engine.management, on_end=lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        wired = wire(settings, engine, metrics, management=delegate)
    except (KeysError, ObserverError) as error:  # a file has changed since the supervisor read it
        log.error("event=cannot_start reason=%r", str(error))
        return CANNOT_FOLLOW
    wanted = {name: None if versions is None else tuple(versions) for name, versions in facts["wanted"].items()}

    def begin() -> None:
        if not facts["replaces"]:
            wired.engine.load_all(wanted)
        delegate.start()

    if facts["replaces"]:
        # Others answer meanwhile. It listens once it can do what they do, so that its clients never notice that it is new.
        wired.engine.load_all(wanted)
        missing = [f"{model}/{version}" for model, version in facts["served"] if not wired.engine.serves(model, version)]
        if missing:
            log.error("event=cannot_follow missing=%s", ",".join(missing))
            return CANNOT_FOLLOW
    listeners = [socket.socket(fileno=descriptor) for descriptor in facts["listeners"]]
    return serve(settings, front_end(settings.frontend, wired), wired, listeners, tls=tls_of(settings), load=begin)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    # Not by the interpreter's way: a runtime's threads that still run would abort it.
    os._exit(code)
