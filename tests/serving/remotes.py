"""Front ends and an engine as they are in processes of their own, here in threads: each with a loop, sockets between."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from models.repository import Repository
from serving.counters import Counters
from serving.engine.answer import Answer
from serving.engine.door import Door
from serving.engine.host import Host
from serving.engine.local import LocalEngine
from serving.engine.remote import RemoteEngine
from serving.metrics import Metrics
from serving.request import InferResponse
from tests.serving.sessions import PATIENCE

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, what: Callable[[], T]) -> T:
        """Call a function on the loop, and return what it returns."""

        async def call() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


class Engine:
    """The engine's process: an engine and its host."""

    def __init__(self, root: Path, counters: Counters, *, load: bool = True) -> None:
        self.metrics = Metrics(Counters(descriptor=counters.descriptor))
        self.engine = LocalEngine(Repository(root), self.metrics)
        self.thread = Loop()
        self.door, theirs = Door.pair()
        self._end = Door(theirs)
        self.host = self.thread.do(lambda: Host(self.engine, self._end, self.thread.loop))
        if load:
            self.load()

    def load(self) -> None:
        self.engine.load_all()
        self.thread.do(self.host.look)

    def die(self) -> None:
        """End as a process does that is killed: nothing is finished."""
        self.close()

    def close(self) -> None:
        if not self.thread.loop.is_closed():
            self.thread.do(lambda: self.host.finish(0.0))
            self.thread.stop()
            self._end.close()
            self.door.close()
        self.engine.close(drain_seconds=PATIENCE)


class Front:
    """A front end's process: a remote engine."""

    def __init__(self, number: int, counters: Counters) -> None:
        self.number = number
        self.metrics = Metrics(Counters(descriptor=counters.descriptor), region=number)
        self.thread = Loop()
        self.door, theirs = Door.pair()
        self._end = Door(theirs)
        self.engine = RemoteEngine(self._end, self.metrics)
        self.thread.do(lambda: self.engine.attach(self.thread.loop))

    def die(self) -> None:
        """End as a process does that is killed."""
        self.engine.close(drain_seconds=0.0)
        self.close()

    def close(self) -> None:
        if not self.thread.loop.is_closed():
            self.engine.close(drain_seconds=PATIENCE)
            self.thread.stop()
            self._end.close()
            self.door.close()


class Rig:
    """A server with so many front ends, all in this process."""

    def __init__(self, root: Path, *, fronts: int = 1, load: bool = True) -> None:
        self.root = root
        self.counters = Counters.shared(1 + fronts)
        self.host = Engine(root, self.counters, load=load)
        self.fronts = [Front(number, self.counters) for number in range(1, fronts + 1)]
        for front in self.fronts:
            self.connect(front)

    @property
    def local(self) -> LocalEngine:
        return self.host.engine

    @property
    def remote(self) -> RemoteEngine:
        return self.fronts[0].engine

    def connect(self, front: Front) -> None:
        Door.connect(front.door, self.host.door, front.number)
        assert front.engine.wait_until_told(PATIENCE)

    def replace_host(self) -> None:
        """Start another engine, and hand its connections out."""
        self.host = Engine(self.root, self.counters)
        for front in self.fronts:
            self.connect(front)

    def close(self) -> None:
        for front in self.fronts:
            front.close()
        self.host.close()


@contextmanager
def rig(root: Path, *, fronts: int = 1, load: bool = True) -> Iterator[Rig]:
    made = Rig(root, fronts=fronts, load=load)
    try:
        yield made
    finally:
        made.close()


def outcome(ask: Callable[[], Answer[InferResponse]]) -> InferResponse | BaseException:
    """Return an answer, or the error, whether it was raised or came later."""
    try:
        future = ask()
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
    return future.exception(PATIENCE) or future.result(PATIENCE)
