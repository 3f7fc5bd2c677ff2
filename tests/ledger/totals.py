"""What the server says of itself: the totals at its /metrics, to be held against what the client has written down."""

import http.client
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from tests.ledger import tracer

_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>[0-9.e+-]+)")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')

#: Seconds without any change after which a server is taken to have come to rest, whatever it says is in flight.
_RESTS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Totals:
    """The tracer's series. `requests` counts by (outcome, reason), all versions together."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    batches: int = 0
    batch_rows: int = 0
    in_flight: int = 0
    queue_rows: int = 0

    @classmethod
    def of(cls, exposition: str) -> Self:
        """Read the Prometheus text format."""
        requests: Counter[tuple[str, str]] = Counter()
        sums: Counter[str] = Counter()
        for line in exposition.splitlines():
            sample = _SAMPLE.fullmatch(line)
            if sample is None:
                continue
            labels = dict(_LABEL.findall(sample["labels"] or ""))
            if labels.get("model", tracer.MODEL) != tracer.MODEL:
                continue
            value = int(float(sample["value"]))
            # Those of versions that were swapped away count by model.
            if sample["name"] in ("sameway_requests_total", "sameway_requests_retired_total"):
                requests[labels["outcome"], labels["reason"]] += value
            sums[sample["name"]] += value
        return cls(
            requests,
            batches=sums["sameway_batch_rows_count"],
            batch_rows=sums["sameway_batch_rows_sum"],
            in_flight=sums["sameway_in_flight"],
            queue_rows=sums["sameway_queue_rows"],
        )

    def since(self, before: "Totals") -> "Totals":
        """Return what was counted since an earlier reading; what is there now stays as it is."""
        return Totals(
            self.requests - before.requests,
            batches=self.batches - before.batches,
            batch_rows=self.batch_rows - before.batch_rows,
            in_flight=self.in_flight,
            queue_rows=self.queue_rows,
        )


def read(host: str, port: int) -> Totals | None:
    """Ask a server for its totals; None if it is not one of ours."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        return _read(connection)
    finally:
        connection.close()


def settled(host: str, port: int) -> Totals | None:
    """Ask a server for its totals until it says that nothing is in flight, or nothing changes any more."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        before, now = None, _read(connection)
        rests_at = time.monotonic() + _RESTS_SECONDS
        while now is not None and (now.in_flight or now.queue_rows or now != before) and time.monotonic() < rests_at:
            if now != before:
                rests_at = time.monotonic() + _RESTS_SECONDS
            before, now = now, _read(connection)
        return now
    finally:
        connection.close()


def _read(connection: http.client.HTTPConnection) -> Totals | None:
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    return Totals.of(text) if response.status == 200 and "sameway_requests" in text else None
