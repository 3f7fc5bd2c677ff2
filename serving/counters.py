"""Numbers in memory that several processes share and that outlives each of them.

Every process writes into a region of its own and reads those of all; so any worker can tell the totals of the whole
server without asking anybody, and what a process had counted when it was killed is still there. A process that takes
the place of another takes over its region, and counts on from where that one was.

A region holds blocks; a block is a few facts (what it counts, as JSON) and a row of float64. This file knows bytes and
floats; what they mean is said in metrics.py.
"""

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from serving.block_bytes import BLOCK_BYTES, HEADER_BYTES, TRIES, BlockBytes, Facts, floats

#: Versions, and models, that one process can have open at once.
BLOCKS = 1024

#: Untouched pages take no memory: of the 16 MiB a region could have, those blocks are there that are used.
_REGION_BYTES = HEADER_BYTES + BLOCKS * BLOCK_BYTES

# The numbers of a region's header. That of moves is odd while counts move from one block to another; that of connections
# is one more than are open, of `most`, and 0 where the process takes none; that of loading is 1 while one is expected that
# has yet to load. The last four are of all processes that have had the region: how many ended, their processor time in
# seconds, how many of them ended without being told to; and 1 once one of them has found the server complete.
_PID, _HEARTBEAT, _USED, _MOVES, _CONNECTIONS, _MOST, _LOADING, _ENDED, _ENDED_CPU, _REPLACED, _COMPLETE = range(11)


class OutOfBlocks(Exception):
    """More versions are open at once than a process can count for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One block as it is now. `live` says whether the process that writes it is there."""

    region: int
    live: bool
    facts: Facts
    numbers: list[float]


class Counters:
    """The shared memory: so many regions, one for each process. Inherited as a file descriptor."""

    def __init__(self, regions: int = 1, *, descriptor: int | None = None) -> None:
        #: None where nobody else can see the memory.
        self.descriptor = descriptor
        self.regions = regions if descriptor is None else os.fstat(descriptor).st_size // _REGION_BYTES
        self._memory = memoryview(mmap.mmap(-1 if descriptor is None else descriptor, self.regions * _REGION_BYTES))

    @classmethod
    def shared(cls, regions: int) -> "Counters":
        """Return memory for several processes, each of which opens its descriptor."""
        descriptor = os.memfd_create("sameway-counters")
        os.ftruncate(descriptor, regions * _REGION_BYTES)
        return cls(descriptor=descriptor)

    def region(self, number: int) -> "Region":
        """Begin to write a region, counting on from what is there."""
        return Region(self._part(number))

    def read(self) -> Iterator[Reading]:
        """Yield every block of every region; counts that move between two blocks of a region are seen in one of them."""
        for number in range(self.regions):
            memory = self._part(number)
            header = floats(memory, 0, HEADER_BYTES)
            for _ in range(TRIES):
                moves = header[_MOVES]
                readings = list(self._read_region(number, memory, header))
                if moves == header[_MOVES] and moves % 2 == 0:
                    break
                time.sleep(0)
            yield from readings

    def _read_region(self, number: int, memory: memoryview, header: "memoryview[float]") -> Iterator[Reading]:
        live = header[_PID] != 0
        for index in range(int(header[_USED])):
            block = BlockBytes(memory, index)
            facts = block.facts()
            if facts is not None:
                yield Reading(number, live, facts, list(block.numbers))

    def pids(self) -> list[int]:
        """Return the process ids of all that write."""
        return [pid for number in range(self.regions) if (pid := self.pid(number))]

    def pid(self, number: int) -> int:
        """Return the id of the process that writes a region, 0 where nobody does."""
        return int(floats(self._part(number), 0, HEADER_BYTES)[_PID])

    def heartbeat(self, number: int) -> float:
        """Return the monotonic time at which a region's process last said that its event loop runs."""
        return floats(self._part(number), 0, HEADER_BYTES)[_HEARTBEAT]

    def connections(self, number: int) -> int | None:
        """Return how many connections a region's process has open, None where it takes none."""
        header = floats(self._part(number), 0, HEADER_BYTES)
        return int(header[_CONNECTIONS]) - 1 if header[_PID] and header[_CONNECTIONS] else None

    def most_connections(self, number: int) -> int:
        """Return how many connections a region's process may have open, 0 where it takes none."""
        header = floats(self._part(number), 0, HEADER_BYTES)
        return int(header[_MOST]) if header[_PID] and header[_CONNECTIONS] else 0

    def say_connections(self, number: int, count: int | None, most: int = 0) -> None:
        """Say how many connections the process of a region has open, of how many; None where it takes no more."""
        header = floats(self._part(number), 0, HEADER_BYTES)
        header[_MOST] = float(most)
        header[_CONNECTIONS] = 0.0 if count is None else count + 1.0

    def is_loading(self, number: int) -> bool:
        """Tell whether a region's process takes connections, or will, before it has loaded what it answers with."""
        return bool(floats(self._part(number), 0, HEADER_BYTES)[_LOADING])

    def expect(self, number: int) -> None:
        """Say that the process which is about to write a region takes connections before it has loaded."""
        floats(self._part(number), 0, HEADER_BYTES)[_LOADING] = 1.0

    def expect_no_more(self, number: int) -> None:
        """Say that it could not be started."""
        floats(self._part(number), 0, HEADER_BYTES)[_LOADING] = 0.0

    def leave(self, number: int, *, cpu_seconds: float = 0.0) -> None:
        """Say that the process of a region has ended, after so much processor time; what it counted stays."""
        header = floats(self._part(number), 0, HEADER_BYTES)
        header[_ENDED_CPU] += cpu_seconds
        header[_PID] = header[_LOADING] = 0
        header[_ENDED] += 1.0  # last: see `ended`

    def ended(self) -> tuple[int, float]:
        """Return how many processes have ended, and their seconds of processor time.

        Whoever adds the time of those that run asks before and after: the same answer twice means that none ended meanwhile.
        """
        return int(self._sum(_ENDED)), self._sum(_ENDED_CPU)

    def replace(self, number: int) -> None:
        """Count that the process of a region has ended without being told to, so that another takes its place."""
        floats(self._part(number), 0, HEADER_BYTES)[_REPLACED] += 1.0

    def replaced(self) -> int:
        """Return how many processes have ended without being told to."""
        return int(self._sum(_REPLACED))

    def was_complete(self) -> bool:
        """Tell whether any process has ever found the server complete."""
        return self._sum(_COMPLETE) > 0

    def _sum(self, place: int) -> float:
        return sum(floats(self._part(number), 0, HEADER_BYTES)[place] for number in range(self.regions))

    def _part(self, number: int) -> memoryview:
        return self._memory[number * _REGION_BYTES : (number + 1) * _REGION_BYTES]


class Region:
    """The blocks that this process writes. Thread-safe."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._header = floats(memory, 0, HEADER_BYTES)
        self._lock = threading.Lock()
        self._moving = threading.Lock()
        self._free: list[int] = []
        self._header[_MOVES] = 0.0  # odd, if the process before this one was killed while it moved something
        self._header[_CONNECTIONS] = self._header[_HEARTBEAT] = 0.0  # nothing of it is this process's own
        self._header[_PID] = os.getpid()

    def inherited(self) -> list["Block"]:
        """Return the blocks that a process before this one has left."""
        blocks = []
        for index in range(int(self._header[_USED])):
            block = Block(BlockBytes(self._memory, index), self, index)
            if block.facts:
                blocks.append(block)
            else:
                block.free()
        return blocks

    def block(self, facts: Facts) -> "Block":
        """Return a block of zeros that counts what the facts say; raise OutOfBlocks."""
        with self._lock:
            index = self._free.pop() if self._free else int(self._header[_USED])
            if index >= BLOCKS:
                raise OutOfBlocks(f"a process can serve {BLOCKS} models and versions at once")
            raw = BlockBytes(self._memory, index)
            raw.clear()
            raw.write(facts)
            self._header[_USED] = max(self._header[_USED], index + 1)
        return Block(raw, self, index)

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Let nobody read this region while counts move from one of its blocks to another."""
        with self._moving:
            self._header[_MOVES] += 1.0
            try:
                yield
            finally:
                self._header[_MOVES] += 1.0

    def loaded(self) -> None:
        """Say that this process has loaded what it is to load."""
        self._header[_LOADING] = 0.0

    def complete(self) -> None:
        """Say that the server is complete; it stays said when this process has ended."""
        self._header[_COMPLETE] = 1.0

    def beat(self, now: float) -> None:
        """Say that the event loop runs."""
        self._header[_HEARTBEAT] = now

    def _give_back(self, index: int) -> None:
        with self._lock:
            self._free.append(index)


class Block:
    """One row of numbers with its facts. Whoever adds to the numbers holds `lock`, and looks at `freed` first."""

    def __init__(self, raw: "BlockBytes", region: Region, index: int) -> None:
        self._raw = raw
        self._region = region
        self._index = index
        self.lock = threading.Lock()
        self.freed = False
        self.numbers = raw.numbers
        self._facts = raw.facts() or {}

    @property
    def facts(self) -> Facts:
        """What the block counts."""
        return self._facts

    def tell(self, **facts: object) -> None:
        """Change some of the facts."""
        with self.lock:
            if not self.freed:
                self._facts = {**self._facts, **facts}
                self._raw.write(self._facts)

    def free(self) -> None:
        """Let nobody read the block any more, and another take its place. Who still counts here must see `freed`."""
        with self.lock:
            if self.freed:
                return
            self.freed = True
        self.give_back()

    def give_back(self) -> None:
        """Let another take the place of this block, which is freed."""
        self._raw.write({})
        self._region._give_back(self._index)
