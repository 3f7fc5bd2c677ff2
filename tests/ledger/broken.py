"""Servers that are broken on purpose, each in one way that has been seen in the wild. The judge must catch every one.

Some are wrong in a single answer of a whole run: one is enough to be somebody else's data.
"""

from dataclasses import replace
from itertools import accumulate, combinations

import numpy as np

from tests.ledger import tracer
from tests.ledger.report import Fault
from tests.ledger.toyserver import Reply, ToyServer, Wish, compute

#: The one wrong answer comes after so many right ones: in the middle of a run, when everybody is busy.
_LATER = 200


class _Once(ToyServer):
    """Goes wrong a single time, in a batch that has two right answers of equal size: `spoil` replaces the two."""

    def __init__(self) -> None:
        super().__init__()
        self._answered = 0
        self._done = False

    def answer(self, batch: list[Wish]) -> list[Reply | None]:
        replies = super().answer(batch)
        self._answered += len(batch)
        pair = None if self._done or self._answered < _LATER else _two_alike(replies)
        if pair is not None:
            (here, first), (there, second) = pair
            replies[here], replies[there] = self.spoil(first, second)
            self._done = True
        return replies

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        """Return what the two get instead."""
        raise NotImplementedError


class Swaps(_Once):
    """Gives two clients each other's rows, once, under the right ids."""

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        return replace(first, rows=second.rows), replace(second, rows=first.rows)


class SwapsIds(_Once):
    """Gives two clients their own rows, once, under each other's ids."""

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        return replace(first, id=second.id), replace(second, id=first.id)


class Copies(_Once):
    """Gives one client's rows to another one too, once."""

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        return first, replace(second, rows=first.rows)


class Repeats(_Once):
    """Sends one answer twice, once: whoever asks next on that connection gets the second."""

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        return replace(first, copies=2), second


class Loses(_Once):
    """Leaves one client without an answer, once."""

    def spoil(self, first: Reply, second: Reply) -> tuple[Reply | None, Reply | None]:
        return None, second


class Rounds(ToyServer):
    """Computes in half precision: right to three digits, and nobody's row is anybody else's."""

    def alone(self, wish: Wish) -> Reply:
        reply = super().alone(wish)
        return reply if reply.rows is None else replace(reply, rows=reply.rows.astype(np.float16))


class Shifts(ToyServer):
    """Merges what came and then looks whether the whole fits (MLServer 1.7.1): liars shift their neighbours' rows."""

    def answer(self, batch: list[Wish]) -> list[Reply | None]:
        replies = super().answer(batch)
        places = [place for place, wish in enumerate(batch) if wish.datatype == "FP32" and wish.shape[1] == tracer.LANES]
        merged = [batch[place] for place in places]
        declared = [wish.shape[0] for wish in merged]
        if merged and tracer.LANES * sum(declared) == sum(wish.values.size for wish in merged):
            rows = compute(np.concatenate([wish.values for wish in merged]))
            parts = np.split(rows, list(accumulate(declared))[:-1])
            for place, wish, part in zip(places, merged, parts, strict=True):
                replies[place] = Reply(200, wish.id, part, binary=wish.binary_answer)
        return replies


class Casts(ToyServer):
    """Casts a batch to the datatype of one of its requests (MLServer 1.7.1): integers for everybody beside an INT32."""

    def answer(self, batch: list[Wish]) -> list[Reply | None]:
        kind = next((wish.values.dtype for wish in batch if wish.datatype.startswith("INT")), np.dtype(np.float64))
        with np.errstate(invalid="ignore"):  # a NaN is no integer
            cast = [replace(wish, datatype="FP32", values=wish.values.astype(kind).astype(np.float64)) for wish in batch]
        return [self.alone(wish) for wish in cast]


class Poisons(ToyServer):
    """Fails a whole batch for one bad request in it (np.concatenate in a plain FastAPI batcher)."""

    def answer(self, batch: list[Wish]) -> list[Reply | None]:
        replies = super().answer(batch)
        if any(reply is not None and reply.status != 200 for reply in replies):
            return [Reply(500, reason="all the input array dimensions must match exactly") for _ in batch]
        return replies


class Believes(ToyServer):
    """Pads what is short and drops what is too much, and says 200."""

    def alone(self, wish: Wish) -> Reply:
        if wish.datatype != "FP32" or wish.values.dtype.kind != "f":
            return super().alone(wish)
        wanted = wish.shape[0] * tracer.LANES
        return super().alone(replace(wish, shape=(wish.shape[0], tracer.LANES), values=np.resize(wish.values, wanted)))


#: Every broken server, and what it must be found guilty of, among other things.
BROKEN: dict[type[ToyServer], Fault] = {
    Swaps: Fault.SWAPPED,
    SwapsIds: Fault.ID,
    Copies: Fault.DUPLICATED,
    Repeats: Fault.DUPLICATED,
    Loses: Fault.LOST,
    Rounds: Fault.WRONG,
    Shifts: Fault.SWAPPED,
    Casts: Fault.WRONG,
    Poisons: Fault.STATUS,
    Believes: Fault.STATUS,
}


def _two_alike(replies: list[Reply | None]) -> tuple[tuple[int, Reply], tuple[int, Reply]] | None:
    """Return two right answers of as many rows and different ids, each with its place."""
    right = [(place, reply) for place, reply in enumerate(replies) if reply is not None and reply.rows is not None]
    alike = (pair for pair in combinations(right, 2) if _size(pair[0][1]) == _size(pair[1][1]))
    return next((pair for pair in alike if pair[0][1].id and pair[1][1].id and pair[0][1].id != pair[1][1].id), None)


def _size(reply: Reply) -> int:
    return 0 if reply.rows is None else reply.rows.size
