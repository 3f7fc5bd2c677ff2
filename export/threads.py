"""How many threads torch computes on: one during a comparison, as many as are measured during a measurement."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def so_many_threads(count: int) -> Iterator[None]:
    """Hold torch to so many threads, process-wide, while the context is entered."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread, process-wide, while the context is entered.

    As serving does by default, and so that sums come out the same however many cores there are. It is the faster way too
    for single rows: threads on a busy machine wait for each other (digits: 43 s of processor time with two, 10 s with one).
    """
    with so_many_threads(1):
        yield
