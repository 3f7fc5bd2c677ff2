"""What a server says of itself at /metrics, to be held against what its clients have counted."""

from collections import Counter
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from proofs.server import Server

#: How a request has ended, in the server's words.
End = tuple[str, str]


def read(server: Server) -> list[Sample]:
    """Return every sample that the server exposes now."""
    status, body = server.ask("/metrics")
    if status != 200:
        raise server.error(f"metrics were answered {status}")
    return [sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples]


def value(samples: Sequence[Sample], name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def ended(samples: Sequence[Sample], model: str) -> Counter[End]:
    """Return how often a model's requests have ended in each way, those of freed versions among them."""
    ends: Counter[End] = Counter()
    for one in samples:
        named = one.name in ("sameway_requests_total", "sameway_requests_retired_total")
        if named and one.labels["model"] == model:
            ends[one.labels["outcome"], one.labels["reason"]] += int(one.value)
    return +ends


def at_rest(server: Server, *, seconds: float = 10.0) -> list[Sample]:
    """Return the samples once nothing is in flight nor waits any more."""

    def quiet() -> bool:
        samples = read(server)
        return not value(samples, "sameway_in_flight") and not value(samples, "sameway_queue_rows")

    server.until(quiet, "at rest", seconds=seconds)
    return read(server)
