"""Who is told what the engine's process serves: the front ends at the other ends of its connections.

States are told and no more. Of versions each front end confirms that it has heard: only then has a load ended, and only
then is a version closed that another takes the place of, so that no request for it can still be on its way.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Mapping

from serving.engine import messages
from serving.engine.base import ModelMetadata
from serving.engine.channel import Channel
from serving.engine.lifecycle import Lifecycle
from serving.engine.messages import Kind
from serving.engine.table import ServedModel
from serving.model_config import ModelConfig
from serving.wire import Buffer

log = logging.getLogger(__name__)

#: For a front end to confirm: one that is only starting takes a second or two, one that hangs must not hold up a load.
_PATIENCE_SECONDS = 5.0


class Audience:
    """The front ends that are connected. All of it happens on the event loop, but `announce`."""

    def __init__(self, life: Lifecycle, loop: asyncio.AbstractEventLoop) -> None:
        self._life = life
        self._loop = loop
        self._channels: set[Channel] = set()
        #: Those that know everything, and are asked for answers by now.
        self._joined: set[Channel] = set()
        self._numbers = itertools.count(1)
        #: By the number of an announcement: who has yet to confirm it, and what is set when all have.
        self._unheard: dict[int, tuple[set[Channel], threading.Event]] = {}
        self._joining: dict[int, Channel] = {}
        self._said = (True, True)
        life.status.follow(self._status_changed)
        life.announce_by(self.announce)

    def join(self, channel: Channel) -> None:
        """Tell a front end everything, and from then on what changes."""
        life, number = self._life, next(self._numbers)
        for model in life.status.names():
            channel.send(messages.status_frame(model, life.status.of(model)))
            channel.send(messages.served_frame(0, model, _versions(life.table.model(model))))
        channel.send(messages.server_frame(loading=self._said[0], alive=self._said[1]))
        channel.send(messages.signal(Kind.WHOLE, number))
        self._channels.add(channel)
        self._joining[number] = channel

    def leave(self, channel: Channel) -> None:
        """Wait for a front end no longer: it is gone."""
        self._channels.discard(channel)
        self._joined.discard(channel)
        self._joining = {number: one for number, one in self._joining.items() if one is not channel}
        for number in list(self._unheard):
            self.heard(channel, number)

    def heard(self, channel: Channel, number: int) -> None:
        """Take a front end's word that it knows what it was told by that number."""
        if self._joining.pop(number, None) is not None:
            self._joined.add(channel)
            return
        waiting = self._unheard.get(number)
        if waiting is None:
            return
        waiting[0].discard(channel)
        if not waiting[0]:
            del self._unheard[number]
            waiting[1].set()

    def announce(self, model: str, served: ServedModel | None) -> None:
        """Tell every front end which versions of a model are served, and wait until each has heard; never on the loop."""
        heard = threading.Event()
        if self._soon(self._announce, model, served, heard) and not heard.wait(_PATIENCE_SECONDS):
            log.warning("event=front_end_not_told model=%s", model)

    def say(self, *, loading: bool, alive: bool) -> None:
        """Tell every front end how the process is, where that is something else than before."""
        if (loading, alive) != self._said:
            self._said = loading, alive
            self._tell(messages.server_frame(loading=loading, alive=alive))

    def _announce(self, model: str, served: ServedModel | None, heard: threading.Event) -> None:
        number, versions = next(self._numbers), _versions(served)
        known = self._life.table.model(model)
        # Where a version goes, also those that may only begin to ask for it in this moment.
        goes = known is not None and any(
            served is None or served.versions.get(key) is not one for key, one in known.versions.items()
        )
        waits = set(self._channels if goes else self._joined)
        if waits:
            self._unheard[number] = waits, heard
        else:
            heard.set()
        self._tell(messages.served_frame(number, model, versions))

    def _status_changed(self, model: str) -> None:
        """Tell of a model's states, which have changed in any thread."""
        self._soon(self._tell_status, model)

    def _tell_status(self, model: str) -> None:
        self._tell(messages.status_frame(model, self._life.status.of(model)))

    def _tell(self, frame: list[Buffer]) -> None:
        for channel in self._channels:
            channel.send(frame)

    def _soon(self, tell: Callable[..., None], *words: object) -> bool:
        """Do this on the loop; tell whether there is one."""
        try:
            self._loop.call_soon_threadsafe(tell, *words)
        except RuntimeError:  # closed: the process is about to end
            return False
        return True


def _versions(served: ServedModel | None) -> Mapping[int, tuple[ModelMetadata, ModelConfig]]:
    if served is None:
        return {}
    return {number: (served.metadata[number], version.config) for number, version in served.versions.items()}
