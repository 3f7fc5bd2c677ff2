"""Numbers in memory that several processes share and that outlives each of them.

Every process writes into a region of its own and reads those of all; so any worker can tell the totals of the whole
server without asking anybody, and what a process had counted when it was killed is still there. A process that takes
the place of another takes over its region, and counts on from where that one was.

A region holds blocks; a block is a few facts (what it counts, as JSON) and a row of float64. This file knows bytes and
floats; what they mean is said in metrics.py.
"""

import contextlib
import json
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Float64 in one block: the figures of one version fit, and of 256 sizes of batches.
NUMBERS = 1536
#: Versions, and models, that one process can have open at once.
BLOCKS = 1024

_HEADER_BYTES = 4096
_FACTS_BYTES = 4096
_BLOCK_BYTES = _FACTS_BYTES + NUMBERS * 8
#: Untouched pages take no memory: of the 16 MiB a region could have, those blocks are there that are used.
_REGION_BYTES = _HEADER_BYTES + BLOCKS * _BLOCK_BYTES
#: The facts lie in two places, of which a number tells the one that holds: whoever is killed while it writes the other
#: leaves the facts as they were. Each is a length and so many bytes.
_TURN, _LENGTH = struct.Struct("=Q"), struct.Struct("=Q")
_SLOT_BYTES = (_FACTS_BYTES - _TURN.size) // 2

#: How often something is looked at that changes in this very moment, which takes microseconds.
_TRIES = 100

# The numbers of a region's header. That of moves is odd while counts move from one block to another; that of connections
# is one more than are open, and 0 where the process takes none; the last is 1 while one is expected that has yet to load.
_PID, _HEARTBEAT, _USED, _MOVES, _CONNECTIONS, _LOADING = range(6)

Facts = Mapping[str, Any]  # Any: JSON


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
            header = _floats(memory, 0, _HEADER_BYTES)
            for _ in range(_TRIES):
                moves = header[_MOVES]
                readings = list(self._read_region(number, memory, header))
                if moves == header[_MOVES] and moves % 2 == 0:
                    break
                time.sleep(0)
            yield from readings

    def _read_region(self, number: int, memory: memoryview, header: "memoryview[float]") -> Iterator[Reading]:
        live = header[_PID] != 0
        for index in range(int(header[_USED])):
            block = _Bytes(memory, index)
            facts = block.facts()
            if facts is not None:
                yield Reading(number, live, facts, list(block.numbers))

    def pids(self) -> list[int]:
        """Return the process ids of all that write."""
        return [pid for number in range(self.regions) if (pid := self.pid(number))]

    def pid(self, number: int) -> int:
        """Return the id of the process that writes a region, 0 where nobody does."""
        return int(_floats(self._part(number), 0, _HEADER_BYTES)[_PID])

    def heartbeat(self, number: int) -> float:
        """Return the monotonic time at which a region's process last said that its event loop runs."""
        return _floats(self._part(number), 0, _HEADER_BYTES)[_HEARTBEAT]

    def connections(self, number: int) -> int | None:
        """Return how many connections a region's process has open, None where it takes none."""
        header = _floats(self._part(number), 0, _HEADER_BYTES)
        return int(header[_CONNECTIONS]) - 1 if header[_PID] and header[_CONNECTIONS] else None

    def say_connections(self, number: int, count: int | None) -> None:
        """Say how many connections the process of a region has open, None where it takes no more."""
        _floats(self._part(number), 0, _HEADER_BYTES)[_CONNECTIONS] = 0.0 if count is None else count + 1.0

    def is_loading(self, number: int) -> bool:
        """Tell whether a region's process takes connections, or will, before it has loaded what it answers with."""
        return bool(_floats(self._part(number), 0, _HEADER_BYTES)[_LOADING])

    def expect(self, number: int) -> None:
        """Say that the process which is about to write a region takes connections before it has loaded."""
        _floats(self._part(number), 0, _HEADER_BYTES)[_LOADING] = 1.0

    def leave(self, number: int) -> None:
        """Say that the process of a region has ended; what it counted stays."""
        header = _floats(self._part(number), 0, _HEADER_BYTES)
        header[_PID] = header[_LOADING] = 0

    def _part(self, number: int) -> memoryview:
        return self._memory[number * _REGION_BYTES : (number + 1) * _REGION_BYTES]


class Region:
    """The blocks that this process writes. Thread-safe."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._header = _floats(memory, 0, _HEADER_BYTES)
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
            block = Block(_Bytes(self._memory, index), self, index)
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
            raw = _Bytes(self._memory, index)
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

    def beat(self, now: float) -> None:
        """Say that the event loop runs."""
        self._header[_HEARTBEAT] = now

    def _give_back(self, index: int) -> None:
        with self._lock:
            self._free.append(index)


class Block:
    """One row of numbers with its facts. Whoever adds to the numbers holds `lock`, and looks at `freed` first."""

    def __init__(self, raw: "_Bytes", region: Region, index: int) -> None:
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


class _Bytes:
    """A block's place in memory."""

    def __init__(self, region: memoryview, index: int) -> None:
        start = _HEADER_BYTES + index * _BLOCK_BYTES
        self._facts = region[start : start + _FACTS_BYTES]
        self.numbers = _floats(region, start + _FACTS_BYTES, NUMBERS * 8)

    def clear(self) -> None:
        """Set every number to zero."""
        self.numbers[:] = memoryview(bytes(NUMBERS * 8)).cast("d")

    def write(self, facts: Facts) -> None:
        """Replace the facts, {} for none."""
        text = json.dumps(facts).encode() if facts else b""
        if len(text) > _SLOT_BYTES - _LENGTH.size:
            # A reason may be a runtime's long message; the rest is short by the rules for names.
            longest = max(facts, key=lambda key: len(str(facts[key])))
            half = str(facts[longest])[: len(str(facts[longest])) // 2]
            self.write({**facts, longest: half})
            return
        turn = _TURN.unpack_from(self._facts)[0] + 1
        start = _TURN.size + turn % 2 * _SLOT_BYTES
        _LENGTH.pack_into(self._facts, start, len(text))
        self._facts[start + _LENGTH.size : start + _LENGTH.size + len(text)] = text
        _TURN.pack_into(self._facts, 0, turn)

    def facts(self) -> Facts | None:
        """Return the facts; None where there are none."""
        for _ in range(_TRIES):
            (turn,) = _TURN.unpack_from(self._facts)
            start = _TURN.size + turn % 2 * _SLOT_BYTES
            (length,) = _LENGTH.unpack_from(self._facts, start)
            text = bytes(self._facts[start + _LENGTH.size : start + _LENGTH.size + min(length, _SLOT_BYTES)])
            if _TURN.unpack_from(self._facts) == (turn,):
                facts: Facts | None = json.loads(text) if text else None
                return facts
            time.sleep(0)
        return None


def _floats(memory: memoryview, start: int, size: int) -> "memoryview[float]":
    return memory[start : start + size].cast("d")
