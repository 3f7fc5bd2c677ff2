"""Quiet: torch's exporters print, log and warn at length, and a failure raises what counts of it."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Keep an exporter's talk off the terminal: pages of graph and remarks.

    Warnings are silenced one by one. Logs and prints are process-wide, so this is not for use beside other threads.
    """
    talk = io.StringIO()
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(talk), redirect_stderr(talk):
            # Meant so: the batch axis of the first input is the batch axis of all.
            warnings.filterwarnings("ignore", r"# The axis name: \w+ will not be used", UserWarning)
            # A recurrent layer's own list of its weights, which it keeps beside the parameters.
            warnings.filterwarnings("ignore", r"The tensor attributes? self\..*_flat_weights", UserWarning)
            # torch's own use of what it calls deprecated: in copying what it has traced, in unrolling recurrent layers.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", r"_check_is_size will be removed", FutureWarning)
            yield
    finally:
        logging.disable(disabled)
