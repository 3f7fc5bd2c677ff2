"""The supervisor: starts workers, replaces those that end, and speaks for all of them to whoever manages the server.

Workers are complete replicas behind one listening socket, in processes of their own: on a CPU, processes beat threads,
which share an interpreter lock with the event loop. The supervisor opens no model and answers no request. It holds what
must outlive a worker: the socket, the counters, and which versions are wanted.
"""

import contextlib
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

from models.repository import Repository
from serving.control_plane import ControlPlane, Operation
from serving.counters import Counters
from serving.engine import agreement
from serving.engine.link import Link, Message, error_to_json
from serving.engine.wanted import wanted_of_all, wanted_versions
from serving.engine.watch import Watch
from serving.errors import ServingError
from serving.readings import Readings
from serving.settings import Settings

log = logging.getLogger(__name__)

_SOURCES = str(Path(__file__).parents[1])

#: A worker whose event loop has not run for so long is replaced. Opening a session can hold the interpreter for seconds.
_SILENT_SECONDS = 30.0
#: A worker that lived shorter than this ended because of what it did at the start: its successor waits, 0.5, 1, 2, … s.
_SHORT_LIFE_SECONDS, _FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 10.0, 0.5, 30.0
#: So many that end one after the other before any has loaded: the server cannot start.
_HOPELESS_STARTS = 3
#: Beyond drain delay and drain, for a worker to end by itself.
_EXIT_GRACE_SECONDS = 5.0
#: Beyond the opening of a version: the longest timeout that a model can have, for which a version may be drained.
_OPERATION_SECONDS = 3600.0
#: A supervisor that has not looked for so long was itself stopped.
_PAUSE_SECONDS = 5.0
#: How often it looks at the workers' heartbeats, and whether a delay is over.
_TICK_SECONDS = 0.2


class Worker:
    """One worker process."""

    def __init__(self, number: int, process: "subprocess.Popen[bytes]", link: Link) -> None:
        self.number = number
        self.process = process
        self.link = link
        self.started = time.monotonic()
        self.loaded = False


class Supervisor:
    """Runs so many workers until a signal comes. Everything happens in the thread that calls `run`; others only queue."""

    def __init__(self, settings: Settings, listeners: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._listeners = listeners
        self._repository = Repository(settings.repository)
        self._counters = Counters.shared(settings.workers)
        self._readings = Readings(self._counters)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._workers: dict[int, Worker] = {}
        self._loaded: dict[int, Callable[..., object]] = {}
        self._plane = ControlPlane(
            wanted_of_all(self._repository, settings.models),
            lambda model: wanted_versions(self._repository, model),
            self._loaded,
        )
        #: Worker → when its successor is to be started (monotonic).
        self._due: dict[int, float] = {}
        self._failures = dict.fromkeys(range(settings.workers), 0)
        self._ever_loaded = False
        self._stop_at: float | None = None
        self._awaited_since = self._ticked = self._resumed = time.monotonic()
        self._operation_seconds = _OPERATION_SECONDS + settings.opening_seconds
        self._code = 0

    def run(self) -> int:
        """Serve until a signal has come and every worker has ended; return the exit code."""
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, self._on_signal)
        watch = None
        if self._settings.watch_seconds:
            watch = Watch(
                self._repository, self, models=self._settings.models, seconds=self._settings.watch_seconds
            )  # begins to compare with what is there before the first worker loads
            watch.start()
        for number in range(self._settings.workers):
            self._start(number)
        while self._stop_at is None or self._workers:
            try:
                with contextlib.suppress(queue.Empty):
                    self._events.get(timeout=_TICK_SECONDS)()
                self._tick()
            except Exception:  # whatever it is, the workers answer on; without their supervisor they would end
                log.exception("event=supervisor_fault")
        if watch is not None:
            watch.stop()
        log.info("event=stopped")
        return self._code

    def load(self, model: str) -> "Future[None]":
        """Let every worker serve the versions that are wanted now, or none. Thread-safe."""
        return self._manage("load", model)

    def unload(self, model: str) -> "Future[None]":
        """Let every worker unload a model. Thread-safe."""
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
        """Start a worker. One that takes another's place opens its models before it takes connections."""
        try:
            self._workers[number] = worker = self._spawn(number)
        except OSError as error:  # no memory, no process, no descriptor: there may be one later
            log.error("event=worker_not_started worker=%d reason=%r", number, str(error))
            self._due[number] = time.monotonic() + _LONGEST_DELAY_SECONDS / 6
            return
        self._due.pop(number, None)
        self._plane.began_loading()
        log.info("event=worker_started worker=%d pid=%d", number, worker.process.pid)
        threading.Thread(target=self._listen, args=(worker,), name=f"worker-{number}", daemon=True).start()
        served = agreement.served(self._readings.now().facts)
        # What failed when the first workers loaded it, or was not there, is not served by one worker alone either.
        successor = {model: versions for model, versions in self._plane.wanted.items() if versions and model in served}
        worker.link.send(
            number=number,
            listeners=[listener.fileno() for listener in self._listeners],
            counters=self._counters.descriptor,
            replaces=self._ever_loaded,
            wanted=successor if self._ever_loaded and served else self._plane.wanted,
            served=served,
            settings=self._settings.model_dump(mode="json", exclude={"tls_key_password"}),
        )

    def _spawn(self, number: int) -> Worker:
        """Start a worker's process; raise OSError. What it has to know comes over the link."""
        ours, theirs = socket.socketpair()
        with theirs:
            shared = [theirs.fileno(), *(listener.fileno() for listener in self._listeners)]
            if self._counters.descriptor is not None:
                shared.append(self._counters.descriptor)
            try:
                process = self._popen(theirs.fileno(), shared)
            except OSError:
                ours.close()
                raise
        return Worker(number, process, Link(ours))

    def _popen(self, link: int, shared: Sequence[int]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - this very program, and the number of a descriptor
            [sys.executable, "-m", "serving.worker", str(link)],
            pass_fds=shared,
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for the supervisor, which tells the workers.
            start_new_session=True,
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        """Return a worker's environment: the very sources that run here, and the one secret, which no command line shows."""
        path = os.pathsep.join(filter(None, [_SOURCES, os.environ.get("PYTHONPATH")]))
        password = self._settings.tls_key_password
        secret = {} if password is None else {"SAMEWAY_TLS_KEY_PASSWORD": password.get_secret_value()}
        return {**os.environ, "PYTHONPATH": path, **secret}

    def _listen(self, worker: Worker) -> None:
        """Queue what a worker says, and then its end. Runs in a thread of its own."""
        for message in worker.link.receive():
            self._events.put(lambda message=message: self._hear(worker, message))  # type: ignore[misc]
        worker.process.wait()
        self._events.put(lambda: self._ended(worker))

    def _hear(self, worker: Worker, message: Message) -> None:
        if message["say"] == "loaded":
            worker.loaded = self._ever_loaded = True
            self._loaded[worker.number] = worker.link.send
            self._plane.ended_loading()
            self._load_anew(agreement.differing(self._readings.now().facts))
            return
        if message["say"] == "differs":
            self._load_anew(message["models"])
            return
        if message["say"] == "done":
            self._plane.done(worker.number, message)
            return
        number = message["id"]

        def answer(error: ServingError | None) -> None:
            worker.link.send(do="answer", id=number, error=error_to_json(error))

        self._plane.ask(Operation(message["what"], message["model"], answer))

    def _load_anew(self, models: Sequence[str]) -> None:
        """What was read from the disk is not what others have read: they open it anew, all of them, or go on as they are."""
        for model in models:
            log.warning("event=workers_differ model=%s", model)
            self._manage("load", model)

    def _ended(self, worker: Worker) -> None:
        """Let another worker take the place of one that has ended, unless the server is stopping."""
        number, code = worker.number, worker.process.returncode
        del self._workers[number]
        self._counters.leave(number)
        self._loaded.pop(number, None)
        worker.link.close()
        if worker.loaded:
            self._plane.ended(number)
        else:
            self._plane.ended_loading()
        if self._stop_at is not None:
            # One that had not loaded yet was not listening to signals either.
            self._code = self._code or int(worker.loaded and code != 0)
            return
        lived = time.monotonic() - worker.started
        short = lived < _SHORT_LIFE_SECONDS
        self._failures[number] = self._failures[number] + 1 if short else 0
        if not self._ever_loaded and self._failures[number] >= _HOPELESS_STARTS:
            log.error("event=cannot_start worker=%d exit_code=%d", number, code)
            self._code = 1
            self._stop(signal.SIGTERM)
            return
        # The first time at once: a kill from outside says nothing about the start.
        again = self._failures[number] - 1
        delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** (again - 1)) if again > 0 else 0.0
        log.error("event=worker_ended worker=%d exit_code=%d lived_seconds=%.1f restart_in=%.1f", number, code, lived, delay)
        self._due[number] = time.monotonic() + delay

    def _tick(self) -> None:
        now = time.monotonic()
        if self._stop_at is not None:
            if now > self._stop_at:
                for worker in self._workers.values():
                    log.error("event=worker_killed worker=%d reason='it did not stop in time'", worker.number)
                    worker.process.kill()
                self._stop_at = now + _EXIT_GRACE_SECONDS
            return
        if not self._plane.may_be_missed:
            for number in [number for number, due in self._due.items() if due <= now]:
                self._start(number)
        self._check_operation(now)
        if now - self._ticked > _PAUSE_SECONDS:
            self._resumed = now  # this process was stopped too, and so its workers had no time to say anything
        self._ticked = now
        for worker in self._workers.values():
            silent = now - max(self._counters.heartbeat(worker.number), worker.started, self._resumed)
            if silent > _SILENT_SECONDS:
                log.error("event=worker_killed worker=%d reason='silent for %.0f s'", worker.number, silent)
                worker.process.kill()
                worker.started = now  # once is enough

    def _check_operation(self, now: float) -> None:
        """Replace workers that have been opening or closing a model for longer than anybody waits for it."""
        awaited = self._plane.awaited()
        if not awaited:
            self._awaited_since = now
        elif now - self._awaited_since > self._operation_seconds:
            number = min(awaited)  # one after the other: the rest answer meanwhile
            log.error("event=worker_killed worker=%d reason='it does not end what it was told to do'", number)
            self._workers[number].process.kill()
            self._awaited_since = now

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._events.put(lambda: self._stop(number))

    def _stop(self, number: int) -> None:
        """Pass a signal on to every worker; a second one hurries them, as SIGINT: a service manager may signal us all."""
        # The workers have descriptors of their own. With this one open, the port would go on taking connections when the
        # last of them has stopped listening, and nobody would ever answer those.
        for listener in self._listeners:
            listener.close()
        patience = self._settings.drain_delay_seconds + self._settings.drain_seconds + _EXIT_GRACE_SECONDS
        hurry = self._stop_at is not None
        if self._stop_at is None:
            self._stop_at = time.monotonic() + patience
        for worker in self._workers.values():
            # A worker that is only starting has no handler for it yet, and nothing to finish either.
            known = signal.SIGINT if hurry else number
            worker.process.send_signal(known if worker.loaded else signal.SIGTERM)
