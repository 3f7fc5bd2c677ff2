"""Management in a process of several: it asks the supervisor, which speaks for all of them."""

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from serving.engine.link import Link, Message, error_from_json
from serving.errors import ModelNotReady

log = logging.getLogger(__name__)


class Delegate:
    """Management by asking the supervisor. Thread-safe; `on_end` is called once the supervisor is gone.

    `known` raises ModelNotFound for a model that nobody has. What the supervisor says of its own accord is given to `obey`.
    """

    def __init__(
        self, link: Link, *, known: Callable[[str], None], obey: Callable[[Message], None], on_end: Callable[[], object]
    ) -> None:
        self._link = link
        self._known = known
        self._obey = obey
        self._on_end = on_end
        self._lock = threading.Lock()
        self._asked: dict[int, Future[None]] = {}
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self._follow, name="link", daemon=True)

    def start(self) -> None:
        """Begin to hear the supervisor, and let it know that everything was loaded."""
        self._thread.start()
        self._link.send(say="loaded")

    def load(self, model: str) -> "Future[None]":
        """Ask for the versions that are wanted now to be served everywhere, or nowhere."""
        return self._ask("load", model)

    def unload(self, model: str) -> "Future[None]":
        """Ask for a model to be unloaded everywhere."""
        return self._ask("unload", model)

    def _ask(self, what: str, model: str) -> "Future[None]":
        self._known(model)
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
