"""What a served version has done, as the protocol's statistics extension counts it: from the very numbers of /metrics.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.figures import OK, Figures, Size, outcome_of


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how many nanoseconds it took in all."""

    count: int
    ns: int

    @classmethod
    def of(cls, count: int, seconds: float) -> "Duration":
        """Return so many occurrences that together took so long."""
        return cls(count, round(seconds * 1e9))


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The batches of one size: the extension's compute_input, compute_infer and compute_output."""

    join: Duration
    run: Duration
    split: Duration

    @classmethod
    def of(cls, size: Size) -> "BatchStatistics":
        """Return what is known of a size."""
        stages = (size.join, size.run, size.split)
        return cls(*(Duration.of(size.batches, seconds) for seconds in stages))


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """A snapshot. `inference_count` counts rows, `execution_count` batches; `last_inference` is in ms since 1970."""

    model: str
    version: int
    last_inference: int
    inference_count: int
    execution_count: int
    durations: Mapping[str, Duration]
    batches: Mapping[int, BatchStatistics]


def statistics_of(model: str, version: int, figures: Figures) -> ModelStatistics:
    """Return the figures of a version in the extension's terms.

    success and fail count requests by how they ended, from their last byte to the first of their answer; queue and the
    three of compute those that were in a batch, also where nobody was there any more to get the answer.
    """
    failed = sum(count for end, count in figures.ended.items() if outcome_of(end) == "failed")
    executed = figures.queue.count
    return ModelStatistics(
        model=model,
        version=version,
        last_inference=figures.last,
        inference_count=int(figures.batch_rows.sum),
        execution_count=figures.batch_rows.count,
        durations={
            "success": Duration.of(figures.ended[OK], figures.request.sum),
            "fail": Duration.of(failed, figures.failed),
            "queue": Duration.of(executed, figures.queue.sum),
            "compute_input": Duration.of(executed, figures.join),
            "compute_infer": Duration.of(executed, figures.run),
            "compute_output": Duration.of(executed, figures.split),
        },
        batches={rows: BatchStatistics.of(size) for rows, size in sorted(figures.sizes.items())},
    )
