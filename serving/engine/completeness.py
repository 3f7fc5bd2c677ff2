"""Has every version that is wanted of every model been served, all of them at the same time, once? See `--ready-when all`.

It is noted in the memory that all processes share, by the processes themselves when something about what they serve has
changed: whether anybody asks meanwhile makes no difference, and whoever takes a process's place finds it there.
"""

from collections.abc import Sequence

from serving.engine.base import ModelStatus, State
from serving.engine.statuses import UNLOADED, merged
from serving.metrics import Metrics


def missing(index: Sequence[ModelStatus]) -> tuple[str, ...]:
    """Return the models of which a version that is wanted is not served; nothing is wanted of one that was unloaded."""
    return tuple(sorted({one.name for one in index if one.state is not State.READY and one.reason != UNLOADED}))


def note(metrics: Metrics) -> None:
    """Note that the server is complete, if it is now and nobody has noted it before. Reads what all processes say."""
    # While a process has yet to load, what it will say is not there: the last one that has loaded finds all of it.
    if metrics.was_complete() or metrics.somebody_loads():
        return
    index = merged(metrics.facts())
    # One of which nothing is known serves nothing: the process with the models may have ended in this very moment.
    if any(one.state is State.READY for one in index) and not missing(index):
        metrics.complete()
