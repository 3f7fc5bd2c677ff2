"""Joining requests into one batch, and splitting its outputs into answers.

Pure functions. Each request was checked against the signature on its own before it came here; here the *backend's*
outputs are checked, because rows handed to the wrong client are worse than no rows at all.
"""

from collections.abc import Callable, Iterator, Sequence

from models.tensors import Array, Signature, SignatureError, Tensors, rows_of


class OutputError(Exception):
    """A backend gave outputs that the signature does not allow."""


def join(requests: Sequence[Tensors], rows: int, allocate: Callable[[str, tuple[int, ...]], Array]) -> Tensors:
    """Return the inputs of all requests stacked along the batch axis, `rows` in all: one copy, none for a lone request."""
    if len(requests) == 1:
        return requests[0]
    joined = {}
    for name, first in requests[0].items():
        stacked = allocate(name, (rows, *first.shape[1:]))
        start = 0
        for inputs in requests:
            array = inputs[name]
            stop = start + array.shape[0]
            stacked[start:stop] = array
            start = stop
        joined[name] = stacked
    return joined


def check_outputs(signature: Signature, outputs: Tensors, rows: int) -> None:
    """Raise OutputError unless there is every output, of its datatype and shape, with exactly `rows` rows."""
    for spec in signature.outputs:
        array = outputs.get(spec.name)
        if array is None:
            raise OutputError(f"output {spec.name!r} is missing")
        try:
            signature.check_tensor(spec, array)
        except SignatureError as error:
            raise OutputError(f"output {error}") from error
        if signature.batched and array.shape[0] != rows:
            raise OutputError(f"output {spec.name}: expected {rows} rows, found {array.shape[0]}")


def split(outputs: Tensors, rows: Sequence[int]) -> Iterator[Tensors]:
    """Yield each request's outputs, as views, for requests of so many rows each."""
    if len(rows) == 1:
        yield outputs
        return
    start = 0
    for count in rows:
        yield rows_of(outputs, start, start + count)
        start += count
