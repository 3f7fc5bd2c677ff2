"""The part of a process with models in managing: it does what the supervisor says, and tells it when that is done."""

from concurrent.futures import Future

from serving.engine.lifecycle import Lifecycle
from serving.engine.link import Link, Message, error_to_json
from serving.engine.opener import Prepared


class Deputy:
    """Loads and unloads here what the supervisor wants, in the steps that all processes take together."""

    def __init__(self, link: Link, life: Lifecycle) -> None:
        self._link = link
        self._life = life
        self._prepared: Prepared | None = None

    def obey(self, message: Message) -> None:
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
                versions, unopened = tuple(message["versions"]), tuple(message["unopened"])
                self._life.prepare(message["model"], versions, unopened).add_done_callback(prepared)
            elif message["do"] == "unload":
                self._life.unload(message["model"]).add_done_callback(done)
            elif message["do"] == "count_failure":  # the supervisor could not tell which versions are wanted
                self._life.failed(message["model"])
            elif self._prepared is not None:
                act = self._life.commit if message["do"] == "commit" else self._life.discard
                act(self._prepared).add_done_callback(done)
                self._prepared = None
            else:  # nothing was prepared here: there is nothing to discard
                self._link.send(say="done", id=number, error=None)
        except Exception as error:  # noqa: BLE001 - the supervisor waits for an answer, whatever happened
            self._link.send(say="done", id=number, error=error_to_json(error))
