"""A device that does nothing until somebody waits for it, and then no more than that needs: as late as a GPU may ever be.

And its opposite, which has done everything at once. What is right on both does not depend on when things happen.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from serving.backends.pipeline import Lanes


@dataclass
class LazyEvent:
    stream: "LazyStream"
    position: int

    def synchronize(self) -> None:
        self.stream.reach(self.position)


@dataclass
class LazyStream:
    """`late` False: everything is done as it is submitted."""

    late: bool = True
    work: deque[Callable[[], None]] = field(default_factory=deque)
    done: int = 0

    def submit(self, work: Callable[[], None]) -> None:
        self.work.append(work)
        if not self.late:
            self.synchronize()

    def record(self) -> LazyEvent:
        return LazyEvent(self, self.done + len(self.work))

    def wait(self, event: LazyEvent) -> None:
        self.submit(event.synchronize)

    def synchronize(self) -> None:
        self.reach(self.done + len(self.work))

    def reach(self, position: int) -> None:
        while self.done < position:
            self.done += 1
            with torch.inference_mode():
                self.work.popleft()()


def memory(size_bytes: int) -> torch.Tensor:
    """Return bytes that are not zero, as memory that somebody else had."""
    return torch.full((size_bytes,), 0xA5, dtype=torch.uint8)


def lanes(*, late: bool = True) -> Lanes:
    return Lanes(LazyStream(late), LazyStream(late), memory, memory)


class Again:
    """A recording: runs the function again, into the same outputs."""

    def __init__(self, run: Callable[[], Sequence[torch.Tensor]]) -> None:
        self._run = run
        self.outputs: Sequence[torch.Tensor] = [output.clone() for output in run()]
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for output, result in zip(self.outputs, self._run(), strict=True):
            output.copy_(result)
