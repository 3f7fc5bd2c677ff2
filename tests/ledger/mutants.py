"""Sameway itself, with one bug planted in its engine; the judge must catch each.

    python -m tests.ledger.mutants off_by_one serve --repository …

starts the real command in this process after one function has been replaced. These are the bugs that a batcher is most
likely to have, and none of them shows in a test that sends one request at a time.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import cli
from models.tensors import Array, Tensors, rows_of
from serving.backends.onnx import OnnxSession
from serving.engine import batch, instance
from serving.engine import entry as entry_module
from serving.engine.answer import Answer
from serving.engine.entry import Entry
from serving.engine.instance import Instance
from serving.protocols.waiting import Waiting
from serving.request import InferResponse, Timings
from tests.ledger.report import Fault

#: What plants a bug. Patching other people's objects is what this project never does; here it is the point.
Patch = Callable[[], None]


def off_by_one() -> None:
    """Split every batch one row too early, but for the first request in it."""

    def split(outputs: Tensors, rows: Sequence[int]) -> Iterator[Tensors]:
        start = 0
        for count in rows:
            begin = max(0, start - 1)
            yield rows_of(outputs, begin, begin + count)
            start += count

    _replace(instance, "split", split)


def reversed_join() -> None:
    """Join a batch from its end, and split it from its beginning."""

    def join(requests: Sequence[Tensors], rows: int, allocate: Callable[[str, tuple[int, ...]], Array]) -> Tensors:
        return batch.join(list(reversed(requests)), rows, allocate)

    _replace(instance, "join", join)


def reused_output() -> None:
    """Let a session give its outputs in the same memory every time."""
    run, memory = OnnxSession.run, dict[OnnxSession, Tensors]()

    def reuse(self: OnnxSession, inputs: Tensors) -> Tensors:
        outputs = run(self, inputs)
        kept = memory.setdefault(
            self, {name: np.empty((4096, *array.shape[1:]), array.dtype) for name, array in outputs.items()}
        )
        for name, array in outputs.items():
            kept[name][: len(array)] = array
        return {name: kept[name][: len(array)] for name, array in outputs.items()}

    _replace(OnnxSession, "run", reuse)


def a_step_behind() -> None:
    """Resolve a future with the result of the one before it, where both have as many rows."""
    respond, last = Instance._response, dict[tuple[Instance, int], Tensors]()

    def response(self: Instance, entry: Entry, outputs: Tensors, timings: Timings) -> InferResponse:
        before = last.get((self, entry.rows), outputs)
        last[self, entry.rows] = outputs
        return respond(self, entry, before, timings)

    _replace(Instance, "_response", response)


def resolved_twice() -> None:
    """Resolve a future with its neighbour's result, and then with its own, which comes too late."""
    respond, last = Instance._response, dict[Instance, InferResponse]()

    class Forgiving(Answer[InferResponse]):
        def set_result(self, result: InferResponse) -> None:
            if not self.done():
                super().set_result(result)

    def response(self: Instance, entry: Entry, outputs: Tensors, timings: Timings) -> InferResponse:
        right = respond(self, entry, outputs, timings)
        if self in last:
            entry.future.set_result(dataclasses.replace(last[self], id=right.id))
        last[self] = right
        return right

    _replace(entry_module, "Answer", Forgiving)
    _replace(Instance, "_response", response)


def keyed_by_id() -> None:
    """Keep the answers of a batch under their clients' ids until they are handed out."""
    answer = Instance._answer

    def keyed(self: Instance, entries: list[Entry]) -> None:
        by_id: dict[str | None, Answer[InferResponse]] = {}
        theirs = [entry.future for entry in entries]
        for entry in entries:
            entry.future = Answer()
            by_id[entry.request.id] = entry.future
        answer(self, entries)
        for future, entry in zip(theirs, entries, strict=True):
            future.set_result(by_id[entry.request.id].result(timeout=0))

    _replace(Instance, "_answer", keyed)


def forgets_one() -> None:
    """Leave one future unresolved, once."""
    answer, forgotten = Instance._answer, list[Entry]()

    def forget(self: Instance, entries: list[Entry]) -> None:
        if not forgotten and len(entries) > 2:
            forgotten.append(entries[0])
            entries = entries[1:]
        answer(self, entries)

    _replace(Instance, "_answer", forget)


def uncounted() -> None:
    """Forget a request whose client has left, instead of counting it."""

    def abandoned(self: Waiting) -> None:
        self.future.cancel()

    _replace(Waiting, "abandoned", abandoned)


#: Mutants that mix people up, and which faults would be their discovery.
MIXERS: dict[Patch, set[Fault]] = {
    off_by_one: {Fault.SWAPPED, Fault.DUPLICATED},
    reversed_join: {Fault.SWAPPED},
    reused_output: {Fault.SWAPPED, Fault.DUPLICATED},
    a_step_behind: {Fault.SWAPPED, Fault.DUPLICATED},
    resolved_twice: {Fault.SWAPPED, Fault.DUPLICATED},
    keyed_by_id: {Fault.SWAPPED, Fault.DUPLICATED},
}
#: Mutants that forget somebody; they show where requests wait for long, and time runs out soon.
FORGETTERS: dict[Patch, set[Fault]] = {forgets_one: {Fault.REFUSED}, uncounted: {Fault.TOTALS}}


def _replace(owner: Any, name: str, value: object) -> None:  # Any: a module or a class
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: the mutant is out of date")
    setattr(owner, name, value)


def main(words: Sequence[str]) -> int:
    """Plant one bug and run the command."""
    name, *rest = words
    next(patch for patch in (*MIXERS, *FORGETTERS) if patch.__name__ == name)()
    return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
