"""A worker's part in managing: it asks the supervisor, which speaks for all workers, and does what the supervisor says."""

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from serving.engine.lifecycle import Lifecycle, Prepared
from serving.engine.link import Link, Message, error_from_json, error_to_json
from serving.errors import ModelNotReady

log = logging.getLogger(__name__)


class Delegate:
    """Management by asking the supervisor. Thread-safe; `on_end` is called once the supervisor is gone."""

    def __init__(self, link: Link, life: Lifecycle, *, on_end: Callable[[], object]) -> None:
        self._link = link
        self._life = life
        self._on_end = on_end
        self._lock = threading.Lock()
        self._asked: dict[int, Future[None]] = {}
        self._numbers = itertools.count(1)
        self._prepared: Prepared | None = None
        self._thread = threading.Thread(target=self._follow, name="link", daemon=True)

    def start(self) -> None:
        """Begin to do what the supervisor says, and let it know that everything was loaded."""
        self._thread.start()
        self._link.send(say="loaded")

    def load(self, model: str) -> "Future[None]":
        """Ask for the versions that are wanted now to be served by every worker, or by none."""
        return self._ask("load", model)

    def unload(self, model: str) -> "Future[None]":
        """Ask for a model to be unloaded by every worker."""
        return self._ask("unload", model)

    def _ask(self, what: str, model: str) -> "Future[None]":
        self._life.known(model)
        number, answer = next(self._numbers), Future[None]()
        # It is being done from now on, whether its client waits or not.
        answer.set_running_or_notify_cancel()
        with self._lock:
            self._asked[number] = answer
        if not self._link.send(say="ask", id=number, what=what, model=model):
            self._answered(number, ModelNotReady("the server is shutting down"))
        return answer

    def _answered(self, number: int, error: Exception | None) -> None:
        with self._lock:
            answer = self._asked.pop(number, None)
        if answer is None:
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def _follow(self) -> None:
        for message in self._link.receive():
            if message["do"] == "answer":
                self._answered(message["id"], error_from_json(message["error"]))
            else:
                self._obey(message)
        log.error("event=supervisor_gone")
        for number in list(self._asked):
            self._answered(number, ModelNotReady("the server is shutting down"))
        self._on_end()

    def _obey(self, message: Message) -> None:
        """Begin what the supervisor says, and tell it when that is done."""
        number = message["id"]

        def done(future: "Future[None]") -> None:
            self._link.send(say="done", id=number, error=error_to_json(future.exception()))

        def prepared(future: "Future[Prepared]") -> None:
            error = future.exception()
            self._prepared = None if error is not None else future.result()
            opened = {} if self._prepared is None else {n: one.opened_from for n, one in self._prepared.versions.items()}
            self._link.send(say="done", id=number, error=error_to_json(error), opened=opened)

        try:
            if message["do"] == "prepare":
                self._life.prepare(message["model"], tuple(message["versions"])).add_done_callback(prepared)
            elif message["do"] == "unload":
                self._life.unload(message["model"]).add_done_callback(done)
            elif self._prepared is not None:
                act = self._life.commit if message["do"] == "commit" else self._life.discard
                act(self._prepared).add_done_callback(done)
                self._prepared = None
            else:  # nothing was prepared here: there is nothing to discard
                self._link.send(say="done", id=number, error=None)
        except Exception as error:  # noqa: BLE001 - the supervisor waits for an answer, whatever happened
            self._link.send(say="done", id=number, error=error_to_json(error))
