"""What each request of a run is: honest or bad, how large, in which encoding, under which id, and whether it is given up.

Everything is drawn from (seed, number), so a run can be repeated, and the plan of the millionth request costs no memory.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

#: Shares of all requests, as docs/ledger.md gives them: without them a batcher that checks only what it has merged passes.
LIARS, WIDE, DATATYPE, NAN, HANG_UPS = 0.05, 0.02, 0.02, 0.01, 0.02
#: One request in 50 has the id of the one before it, one in 20 has none: ids cannot be what keeps answers apart.
_SHARED_ID, _NO_ID = 50, 20

_MOST_ROWS = 4
#: A lying pair is found within so many requests, and honest ones between the two: in one batch, they would be shifted.
_BLOCK = 16
_DRAWS = struct.Struct("<8H")


class Kind(StrEnum):
    """What is wrong with a request."""

    HONEST = "honest"
    #: Declares other rows than it sends; its twin, a few requests away, errs the other way: together they look right.
    LIAR = "liar"
    #: Rows of another length.
    WIDE = "wide"
    #: Values of another datatype, and says so.
    DATATYPE = "datatype"
    #: One NaN: legal in binary, and then its row is NaN; in JSON there is no such word.
    NAN = "nan"
    #: A text among the numbers; a value too few; one too many; rows of unequal length.
    TEXT = "text"
    SHORT = "short"
    LONG = "long"
    RAGGED = "ragged"


class Cut(StrEnum):
    """When the client hangs up: before the request is whole, or while it waits for the answer."""

    BEFORE = "before"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `rows` is what it declares, `sent_rows` what it sends, `draw` a random number for what is left open."""

    number: int
    kind: Kind
    rows: int
    sent_rows: int
    draw: int
    id: str | None
    binary: bool
    binary_answer: bool
    cut: Cut | None = None

    @property
    def wants(self) -> int:
        """The HTTP status that this body calls for."""
        if self.kind is Kind.HONEST or (self.kind is Kind.NAN and self.binary):
            return 200
        return 400


def plan(seed: int, requests: int) -> Iterator[Request]:
    """Yield the requests of a run, in the order in which they are to be sent."""
    return (_request(seed, number) for number in range(requests))


def neighbours(seed: int, kind: Kind, *, honest: int, bad: int) -> Iterator[Request]:
    """Yield requests that shall meet in a few batches: so many honest ones, and among them bad ones of one kind."""
    every = (honest + bad) // bad
    for number in range(honest + bad):
        is_bad = number % every == every // 2
        drawn = kind if is_bad else Kind.HONEST
        in_json = drawn in (Kind.TEXT, Kind.RAGGED)
        rows = 1 + number % _MOST_ROWS
        binary, binary_answer = number % 8 >= 4 and not in_json, number % 3 == 0
        yield Request(number, drawn, rows, rows, number, f"{seed}-{number}", binary, binary_answer)


def _request(seed: int, number: int) -> Request:
    draws = _draws(seed, "request", number)
    binary, binary_answer = bool(draws[0] & 1), bool(draws[0] & 2)
    id = _id(seed, number)
    lie = _lie(seed, number)
    if lie is not None:
        return Request(number, Kind.LIAR, *lie, draws[3], id, binary, binary_answer)
    # Liars are drawn already; the other shares, too, are of all requests.
    kind, cut = _kind(_share(draws[1]) * (1 - LIARS), draws[4])
    rows = 1 + draws[2] % _MOST_ROWS
    return Request(number, kind, rows, rows, draws[3], id, binary, binary_answer, cut)


def _kind(share: float, draw: int) -> tuple[Kind, Cut | None]:
    for kind, part in ((Kind.WIDE, WIDE), (Kind.DATATYPE, DATATYPE), (Kind.NAN, NAN)):
        if share < part:
            return kind, None
        share -= part
    if share < HANG_UPS:
        # One in four breaks off its request; the others are the ones with an answer that must not go to anybody else.
        return Kind.HONEST, Cut.BEFORE if draw % 4 == 0 else Cut.WAITING
    return Kind.HONEST, None


def _lie(seed: int, number: int) -> tuple[int, int] | None:
    """Return how many rows a liar declares and how many it sends, two different numbers; None for any other request."""
    draws = _draws(seed, "twins", number // _BLOCK)
    if _share(draws[0]) >= LIARS * _BLOCK / 2:
        return None
    first = draws[1] % _BLOCK
    second = (first + 1 + draws[2] % (_BLOCK - 1)) % _BLOCK
    declared = draws[3] % _MOST_ROWS
    sent = (declared + 1 + draws[4] % (_MOST_ROWS - 1)) % _MOST_ROWS
    lies = {first: (declared + 1, sent + 1), second: (sent + 1, declared + 1)}
    return lies.get(number % _BLOCK)


def _id(seed: int, number: int) -> str | None:
    """Return a request's id. The remainders are chosen so that a request whose id is shared has one."""
    if number % _NO_ID == 3:
        return None
    return f"{seed}-{number - 1}" if number % _SHARED_ID == 7 else f"{seed}-{number}"


def _draws(seed: int, what: str, number: int) -> tuple[int, ...]:
    return _DRAWS.unpack_from(hashlib.sha256(f"{seed} {what} {number}".encode()).digest())


def _share(draw: int) -> float:
    return draw / 2**16
