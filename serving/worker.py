"""A worker: one complete server in a process of its own, started by the supervisor with `python -m serving.worker LINK`.

It listens on sockets it has inherited, counts in memory it shares, and is managed over a link, whose descriptor it is
given and whose first message tells it all the rest.
"""

import functools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence

from serving.counters import Counters
from serving.engine.delegate import Delegate
from serving.engine.deputy import Deputy
from serving.engine.link import Link
from serving.engine.local import LocalEngine
from serving.engine.wanted import Unopened, Wanted
from serving.keys import KeysError
from serving.metrics import Metrics
from serving.observers import ObserverError
from serving.process import Wired, begin_logging, end, engine_of, front_end, serve, tls_of, wire
from serving.settings import Settings

log = logging.getLogger(__name__)

#: Often enough for a supervisor that waits 30 s for the next one.
_BEAT_SECONDS = 0.2

#: The exit code of a worker that could not open what the others serve: sysexits' "temporary failure".
CANNOT_FOLLOW = 75


def main(words: Sequence[str]) -> int:
    """Serve until a signal comes, or the supervisor is gone; return the exit code."""
    link = Link(socket.socket(fileno=int(words[0])))
    facts = next(link.receive(), None)
    if facts is None:  # the supervisor has ended in this very moment
        return CANNOT_FOLLOW
    settings = Settings(**facts["settings"])
    begin_logging(settings, who=f"worker={facts['number']}")

    counters = Counters(descriptor=facts["counters"])
    metrics = Metrics(counters, region=facts["number"])
    # Without a supervisor nobody would replace this process: it finishes what it has accepted, and ends.
    engine = engine_of(settings, metrics)
    life = engine.management
    ends = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    delegate = Delegate(link, known=life.known, obey=Deputy(link, life).obey, on_end=ends)
    try:
        wired = wire(settings, engine, metrics, management=delegate)
    except (KeysError, ObserverError) as error:  # a file has changed since the supervisor read it
        log.error("event=cannot_start reason=%r", str(error))
        return CANNOT_FOLLOW
    wanted = {name: None if versions is None else tuple(versions) for name, versions in facts["wanted"].items()}
    unopened = {name: tuple(versions) for name, versions in facts["unopened"].items()}

    def begin() -> None:
        if not facts["replaces"]:
            wired.engine.load_all(wanted, unopened)
        delegate.start()

    if facts["replaces"]:
        # Others answer meanwhile. It listens once it can do what they do, so that its clients never notice that it is new.
        _load(wired, wanted, unopened)
        if differing := _differing(wired.engine, facts["served"]):
            log.error("event=cannot_follow models=%s", ",".join(differing))
            link.send(say="differs", models=differing)
            return CANNOT_FOLLOW
    listeners = [socket.socket(fileno=descriptor) for descriptor in facts["listeners"]]
    front = front_end(settings.frontend, wired)
    return serve(
        settings,
        front,
        wired,
        listeners,
        tls=tls_of(settings),
        load=begin,
        patient=True,
    )


def _load(wired: Wired[LocalEngine], wanted: Wanted, unopened: Unopened) -> None:
    """Open what is wanted, and meanwhile let the supervisor see that this process runs."""
    loading = threading.Thread(target=wired.engine.load_all, args=(wanted, unopened), name="load", daemon=True)
    loading.start()
    while loading.is_alive():
        wired.metrics.beat()
        loading.join(_BEAT_SECONDS)


def _differing(engine: LocalEngine, served: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the models of which this process does not serve the very same that the others do."""
    return [
        model
        for model, versions in served.items()
        if engine.opened_from(model) != {int(version): identity for version, identity in versions.items()}
    ]


if __name__ == "__main__":
    end(main(sys.argv[1:]))
