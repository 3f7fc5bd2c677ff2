"""The supervisor: starts processes, replaces those that end, and speaks for all of them to whoever manages the server.

They are workers, complete replicas behind one listening socket; or front ends, with one process that has the engine of all
of them, to which each is connected. On a CPU, processes beat threads, which share an interpreter lock with the event loop.
The supervisor opens no model and answers no request. It holds what must outlive a process: the socket, the counters, and
which versions are wanted.
"""

import contextlib
import logging
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import FrameType

from models.repository import Repository
from serving import child as children
from serving.block_bytes import Facts
from serving.child import ENGINE, FRONTEND, Child, Role
from serving.control_plane import ControlPlane, Operation
from serving.counters import Counters
from serving.engine import agreement
from serving.engine.door import Door
from serving.engine.link import Message, error_to_json
from serving.engine.wanted import wanted_of_all, wanted_versions
from serving.engine.watch import Watch
from serving.errors import ServingError
from serving.readings import Readings
from serving.reconciler import Reconciler
from serving.settings import Settings

log = logging.getLogger(__name__)

#: A process whose event loop has not run for so long is replaced. Opening a session can hold the interpreter for seconds.
_SILENT_SECONDS = 30.0
#: A process that lived shorter than this ended because of what it did at the start: its successor waits, 0.5, 1, 2, … s.
_SHORT_LIFE_SECONDS, _FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 10.0, 0.5, 30.0
#: So many that end one after the other before any has loaded: the server cannot start.
_HOPELESS_STARTS = 3
#: Beyond drain delay and drain, for a process to end by itself.
_EXIT_GRACE_SECONDS = 5.0
#: Beyond the opening of a version: the longest timeout that a model can have, for which a version may be drained.
_OPERATION_SECONDS = 3600.0
#: A supervisor that has not looked for so long was itself stopped.
_PAUSE_SECONDS = 5.0
#: How often it looks at the processes' heartbeats, and whether a delay is over.
_TICK_SECONDS = 0.2


class Supervisor:
    """Runs the processes of a server until a signal comes. All happens in the thread that calls `run`; others only queue."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._listeners = listeners
        self._repository = Repository(settings.repository)
        #: What each process is for, by its number.
        self._roles = children.roles(settings)
        self._counters = Counters.shared(len(self._roles))
        self._readings = Readings(self._counters)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._children: dict[int, Child] = {}
        self._loaded: dict[int, Callable[..., object]] = {}
        # Before it is listed what is wanted: a model that comes in between is a change, if it is not loaded at the start.
        self._watch: Watch | None = None
        if seconds := settings.watch_seconds:
            self._watch = Watch(self._repository, self, models=settings.models, seconds=seconds)
        self._plane = ControlPlane(
            wanted_of_all(self._repository, settings.models),
            lambda model: wanted_versions(self._repository, model),
            self._loaded,
        )
        self._reconciler = Reconciler(self._plane, self._told)
        #: Process → when its successor is to be started (monotonic).
        self._due: dict[int, float] = {}
        self._failures = dict.fromkeys(self._roles, 0)
        #: The roles of which some process has ever loaded.
        self._proven: set[Role] = set()
        self._stop_at: float | None = None
        self._awaited_since = self._ticked = self._resumed = time.monotonic()
        self._operation_seconds = _OPERATION_SECONDS + settings.opening_seconds
        self._code = 0

    def run(self) -> int:
        """Serve until a signal has come and every process has ended; return the exit code."""
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, self._on_signal)
        if self._watch is not None:
            self._watch.start()
        for number in self._roles:
            self._start(number)
        while self._stop_at is None or self._children:
            try:
                with contextlib.suppress(queue.Empty):
                    self._events.get(timeout=_TICK_SECONDS)()
                self._tick()
            except Exception:  # whatever it is, the others answer on; without their supervisor they would end
                log.exception("event=supervisor_fault")
        if self._watch is not None:
            self._watch.stop()
        log.info("event=stopped")
        return self._code

    def load(self, model: str) -> "Future[None]":
        """Let every process with models serve the versions that are wanted now, or none. Thread-safe."""
        return self._manage("load", model)

    def unload(self, model: str) -> "Future[None]":
        """Let every process with models unload one. Thread-safe."""
        return self._manage("unload", model)

    def _manage(self, what: str, model: str) -> "Future[None]":
        future: Future[None] = Future()

        def answer(error: ServingError | None) -> None:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._events.put(lambda: self._plane.ask(Operation(what, model, answer)))
        return future

    def _start(self, number: int) -> None:
        """Start a process. One that takes another's place opens its models before it takes connections."""
        role = self._roles[number]
        replaces = role in self._proven
        served = agreement.served(self._readings.now().facts) if replaces else {}
        wanted, unopened = self._plane.successor(served)
        listeners = [listener.fileno() for listener in self._listeners] if role.listens else []
        counters = self._counters.descriptor
        if role.listens and not replaces:
            self._counters.expect(number)
        try:
            self._children[number] = child = children.start(
                role,
                number,
                self._settings,
                [*listeners, *([] if counters is None else [counters])],
                listeners=listeners,
                counters=counters,
                replaces=replaces,
                wanted=wanted,
                unopened=unopened,
                served=served,
            )
        except OSError as error:  # no memory, no process, no descriptor: there may be one later
            log.error("event=%s_not_started %s=%d reason=%r", role.name, role.name, number, str(error))
            self._counters.expect_no_more(number)  # the others are ready without it
            self._due[number] = time.monotonic() + _LONGEST_DELAY_SECONDS / 6
            return
        self._due.pop(number, None)
        if role.opens_models:
            self._plane.began_loading()
        log.info("event=%s_started %s pid=%d", role.name, child, child.process.pid)
        threading.Thread(target=self._listen, args=(child,), name=str(child), daemon=True).start()
        self._connect(child)

    def _connect(self, child: Child) -> None:
        """Hand connections to a front end and the engine that have just come to be there both."""
        for other in self._children.values():
            pair = {child.role: child, other.role: other}
            if FRONTEND in pair and ENGINE in pair:
                Door.connect(pair[FRONTEND].door, pair[ENGINE].door, pair[FRONTEND].number)

    def _listen(self, child: Child) -> None:
        """Queue what a process says, and then its end. Runs in a thread of its own."""
        for message in child.link.receive():
            self._events.put(lambda message=message: self._hear(child, message))  # type: ignore[misc]
        self._counters.leave(child.number, cpu_seconds=child.wait())
        self._events.put(lambda: self._ended(child))

    def _hear(self, child: Child, message: Message) -> None:
        if message["say"] == "loaded":
            child.loaded = True
            self._proven.add(child.role)
            if child.role.opens_models:
                self._loaded[child.number] = child.link.send
                self._plane.ended_loading()
                self._reconciler.suspect()
            return
        if message["say"] == "differs":
            self._reconciler.load_anew(message["models"])
            return
        if message["say"] == "done":
            self._plane.done(child.number, message)
            return
        number = message["id"]

        def answer(error: ServingError | None) -> None:
            child.link.send(do="answer", id=number, error=error_to_json(error))

        self._plane.ask(Operation(message["what"], message["model"], answer))

    def _told(self) -> dict[int, Sequence[Facts]]:
        """Return what each process says of its versions that has loaded them."""
        return {number: facts for number, facts in self._readings.now().facts.items() if number in self._loaded}

    def _ended(self, child: Child) -> None:
        """Let another process take the place of one that has ended, unless the server is stopping."""
        number, role, code = child.number, child.role, child.process.returncode
        del self._children[number]
        self._loaded.pop(number, None)
        child.close()
        if role.opens_models and child.loaded:
            self._plane.ended(number)
        elif role.opens_models:
            self._plane.ended_loading()
        lived = time.monotonic() - child.started
        if self._stop_at is not None:
            # One that had not loaded yet was not listening to signals either.
            self._code = self._code or int(child.loaded and code != 0)
            as_told = code == 0 or (code == -signal.SIGTERM and not child.loaded)
            if not as_told:
                log.error("event=%s_ended %s exit_code=%d lived_seconds=%.1f stopping=true", role.name, child, code, lived)
            self._stop_engine()
            return
        self._counters.replace(number)
        short = lived < _SHORT_LIFE_SECONDS
        self._failures[number] = self._failures[number] + 1 if short else 0
        if role not in self._proven and self._failures[number] >= _HOPELESS_STARTS:
            log.error("event=cannot_start %s exit_code=%d", child, code)
            self._code = 1
            self._stop(signal.SIGTERM)
            return
        # The first time at once: a kill from outside says nothing about the start.
        again = self._failures[number] - 1
        delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** (again - 1)) if again > 0 else 0.0
        log.error("event=%s_ended %s exit_code=%d lived_seconds=%.1f restart_in=%.1f", role.name, child, code, lived, delay)
        self._due[number] = time.monotonic() + delay

    def _tick(self) -> None:
        now = time.monotonic()
        if self._stop_at is not None:
            if now > self._stop_at:
                for child in self._children.values():
                    _kill(child, "it did not stop in time")
                self._stop_at = now + _EXIT_GRACE_SECONDS
            return
        for number in [number for number, due in self._due.items() if due <= now]:
            if not (self._roles[number].opens_models and self._plane.may_be_missed):
                self._start(number)
        self._check_operation(now)
        self._reconciler.look()
        if now - self._ticked > _PAUSE_SECONDS:
            self._resumed = now  # this process was stopped too, and so its workers had no time to say anything
        self._ticked = now
        for child in self._children.values():
            silent = now - max(self._counters.heartbeat(child.number), child.started, self._resumed)
            if silent > _SILENT_SECONDS:
                _kill(child, f"silent for {silent:.0f} s")
                child.started = now  # once is enough

    def _check_operation(self, now: float) -> None:
        """Replace processes that have been opening or closing a model for longer than anybody waits for it."""
        awaited = self._plane.awaited()
        if not awaited:
            self._awaited_since = now
        elif now - self._awaited_since > self._operation_seconds:
            # One after the other: the rest answer meanwhile.
            _kill(self._children[min(awaited)], "it does not end what it was told to do")
            self._awaited_since = now

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._events.put(lambda: self._stop(number))

    def _stop(self, number: int) -> None:
        """Pass a signal on to every process; a second one hurries them, as SIGINT: a service manager may signal us all."""
        # The processes have descriptors of their own. With this one open, the port would go on taking connections when the
        # last of them has stopped listening, and nobody would ever answer those.
        for listener in self._listeners:
            listener.close()
        patience = self._settings.drain_delay_seconds + self._settings.drain_seconds + _EXIT_GRACE_SECONDS
        hurry = self._stop_at is not None
        if self._stop_at is None:
            self._stop_at = time.monotonic() + patience
        for child in self._children.values():
            # One that is only starting has no handler for it yet, and nothing to finish either.
            known = signal.SIGINT if hurry else number
            if child.role is not ENGINE:
                child.process.send_signal(known if child.loaded else signal.SIGTERM)
        self._stop_engine()

    def _stop_engine(self) -> None:
        """End the engine's process once no front end needs it any more."""
        if all(child.role is ENGINE for child in self._children.values()):
            for child in self._children.values():
                child.process.send_signal(signal.SIGTERM)
                self._stop_at = time.monotonic() + self._settings.drain_seconds + _EXIT_GRACE_SECONDS


def _kill(child: Child, reason: str) -> None:
    log.error("event=%s_killed %s reason=%r", child.role.name, child, reason)
    child.process.kill()
