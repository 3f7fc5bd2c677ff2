"""The bytes of one block of counters in shared memory: a few facts as JSON, and a row of float64."""

import json
import struct
import time
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]  # Any: JSON

#: Float64 in one block: the figures of one version fit, and of 256 sizes of batches.
NUMBERS = 1536
#: Of a region, in front of its blocks.
HEADER_BYTES = 4096
_FACTS_BYTES = 4096
BLOCK_BYTES = _FACTS_BYTES + NUMBERS * 8

#: The facts lie in two places, of which a number tells the one that holds: whoever is killed while it writes the other
#: leaves the facts as they were. Each is a length and so many bytes.
_TURN, _LENGTH = struct.Struct("=Q"), struct.Struct("=Q")
_SLOT_BYTES = (_FACTS_BYTES - _TURN.size) // 2

#: How often something is looked at that changes in this very moment, which takes microseconds.
TRIES = 100


class BlockBytes:
    """A block's place in memory."""

    def __init__(self, region: memoryview, index: int) -> None:
        start = HEADER_BYTES + index * BLOCK_BYTES
        self._facts = region[start : start + _FACTS_BYTES]
        self.numbers = floats(region, start + _FACTS_BYTES, NUMBERS * 8)

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
        for _ in range(TRIES):
            (turn,) = _TURN.unpack_from(self._facts)
            start = _TURN.size + turn % 2 * _SLOT_BYTES
            (length,) = _LENGTH.unpack_from(self._facts, start)
            text = bytes(self._facts[start + _LENGTH.size : start + _LENGTH.size + min(length, _SLOT_BYTES)])
            if _TURN.unpack_from(self._facts) == (turn,):
                facts: Facts | None = json.loads(text) if text else None
                return facts
            time.sleep(0)
        return None


def floats(memory: memoryview, start: int, size: int) -> "memoryview[float]":
    """Return so many bytes from there on as float64."""
    return memory[start : start + size].cast("d")
