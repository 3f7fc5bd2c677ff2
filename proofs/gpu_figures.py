"""How many rows a second a session computes on a device: per batch size, with and without CUDA graphs, overlapped or not.

What is compared is measured in turns, as a device's clock drifts; a figure is the median of its rounds. Each batch is
written into the session's own memory first, as joining does, so what the bus and the staging cost is in it.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from models.repository import Repository
from models.tensors import Array
from proofs.gpu_models import Network
from serving.backends.base import Execution, PipelinedSession, Session, backend_for
from serving.backends.buckets import doubling


@dataclass(frozen=True, slots=True)
class Figure:
    """Rows per second of one artifact in batches of so many rows; `overlapped` with the next one's copy beside the run.

    precision  "exported", "tf32", "fp16" or "bf16"
    graphs     whether runs were recorded as CUDA graphs, as they are unless configured otherwise
    """

    network: str
    format: str
    precision: str
    graphs: bool
    rows: int
    rows_per_second: float
    overlapped: float | None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return asdict(self)


def measure(
    root: Path, network: Network, format: str, *, device: str, precisions: Sequence[str], seconds: float, rounds: int
) -> list[Figure]:
    """Measure an artifact in every batch size that doubles, and in the largest with each precision."""
    figures = []
    # Eager on the CPU is all there is; on a GPU it is what graphs are compared with.
    ways = [Execution()] if device == "cpu" else [Execution(), Execution(batch_buckets=())]
    sessions = [(way, _open(root, network, format, device, way)) for way in ways]
    try:
        for rows in doubling(network.rows):
            figures += _in_turns(network, format, sessions, rows, seconds=seconds, rounds=rounds)
    finally:
        _close(sessions)
    coarser = [Execution(precision) for precision in precisions]
    sessions = [(way, _open(root, network, format, device, way)) for way in coarser]
    try:
        if sessions:
            figures += _in_turns(network, format, sessions, network.rows, seconds=seconds, rounds=rounds)
    finally:
        _close(sessions)
    return figures


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, ready for docs/performance.md."""
    lines = [
        "| network | format | precision | CUDA graphs | batch | rows/s | rows/s overlapped | gain |",
        "| - | - | - | - | -: | -: | -: | -: |",
    ]
    for one in figures:
        overlapped = "–" if one.overlapped is None else f"{one.overlapped:,.0f}"
        gain = "–" if one.overlapped is None else f"{one.overlapped / one.rows_per_second:.2f}"
        graphs = "yes" if one.graphs else "no"
        lines.append(
            f"| {one.network} | {one.format} | {one.precision} | {graphs} | {one.rows} | {one.rows_per_second:,.0f} "
            f"| {overlapped} | {gain} |"
        )
    return "\n".join(lines)


def _in_turns(
    network: Network, format: str, sessions: Sequence[tuple[Execution, Session]], rows: int, *, seconds: float, rounds: int
) -> list[Figure]:
    images = network.images(rows, seed=rows)
    plain: dict[int, list[float]] = {number: [] for number in range(len(sessions))}
    overlapped: dict[int, list[float]] = {number: [] for number in range(len(sessions))}
    for _ in range(rounds):
        for number, (_way, session) in enumerate(sessions):
            plain[number].append(_rate(session, images, seconds))
            if isinstance(session, PipelinedSession):
                overlapped[number].append(_rate_overlapped(session, images, seconds))
    return [
        Figure(
            network=network.name,
            format=format,
            precision=way.precision or "exported",
            graphs=isinstance(session, PipelinedSession) and bool(session.buckets),
            rows=rows,
            rows_per_second=statistics.median(plain[number]),
            overlapped=statistics.median(overlapped[number]) if overlapped[number] else None,
        )
        for number, (way, session) in enumerate(sessions)
    ]


def _staged(session: Session, images: Array) -> dict[str, Array]:
    memory = session.allocate("image", images.shape)
    memory[:] = images
    return {"image": memory}


def _rate(session: Session, images: Array, seconds: float) -> float:
    """Return rows per second, one batch after the other."""
    session.run(_staged(session, images))  # not counted: what is chosen and taken at the first one of a size
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or not batches:
        session.run(_staged(session, images))
        batches += 1
    return batches * len(images) / (time.perf_counter() - started)


def _rate_overlapped(session: PipelinedSession, images: Array, seconds: float) -> float:
    """Return rows per second with as many batches under way as there may be."""
    batches, started = 0, time.perf_counter()
    under_way = 0
    while time.perf_counter() - started < seconds or not batches:
        while under_way < session.depth:
            session.begin(_staged(session, images))
            under_way += 1
        session.end()
        under_way -= 1
        batches += 1
    for _ in range(under_way):
        session.end()
    return (batches + under_way) * len(images) / (time.perf_counter() - started)


def _open(root: Path, network: Network, format: str, device: str, execution: Execution) -> Session:
    version = Repository(root).open(network.name, 1)
    artifact = next(one for one in version.manifest.artifacts if one.format == format)
    return backend_for(format).open(
        version.artifact_path(artifact), network.signature, device=device, threads=torch.get_num_threads(),
        execution=execution,
    )  # fmt: skip


def _close(sessions: Sequence[tuple[Execution, Session]]) -> None:
    for _way, session in sessions:
        session.close()
