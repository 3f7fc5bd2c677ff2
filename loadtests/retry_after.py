"""What a server asks for that refuses with 429: come back after so many seconds, or at a date (RFC 9110, 10.2.3)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: What a 429 without `Retry-After`, or with one that says nothing, means to a client that honours it.
USUAL_SECONDS = 1.0

#: A client that honours it pauses at least for so long, whatever it was told: "0" is no leave to ask without a pause.
SHORTEST_SECONDS = 0.1

_SECONDS = re.compile("[0-9]{1,9}")


def seconds(asked: str | None, date: str | None = None) -> float:
    """Return how long to wait. A date counts from the server's own `Date`, where it tells one: clocks differ."""
    if asked is None:
        return USUAL_SECONDS
    if _SECONDS.fullmatch(asked.strip()):
        return max(SHORTEST_SECONDS, float(asked))
    until, now = _moment(asked), _moment(date or "") or datetime.now(UTC)
    return USUAL_SECONDS if until is None else max(SHORTEST_SECONDS, (until - now).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
