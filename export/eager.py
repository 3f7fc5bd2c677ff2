"""The eager module as a function on arrays: the truth that artifacts are held against, in float32 and in float64."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from export import batches
from export.decisions import Decisions
from export.exporter import ExportError, ExportSource, first_line
from export.float64 import InFloat64, doubled
from export.last_steps import LastSteps
from export.perturbed import Perturbed
from export.threads import one_thread
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec


@dataclass(frozen=True, slots=True)
class Answers:
    """What one run gave: the outputs, and under the names of those that are decisions, the scores they were taken of.

    `before` holds what entered the last step of an output, `steps` the names of these steps: softmax, sigmoid, argmax, …
    """

    outputs: dict[str, Array]
    scores: dict[str, Array]
    before: dict[str, Array]
    steps: dict[str, str]


def in_float32(source: ExportSource, inputs: Tensors, *, batch_size: int) -> Answers:
    """Run the module as it is; raise ExportError where it fails or its outputs are not those of the signature.

    Inputs and outputs count the samples by their first axis, as `ExportSource.samples` does.
    """
    return _run(source, inputs, batch_size=batch_size, precision=torch.inference_mode, check=True)


def in_float64(source: ExportSource, inputs: Tensors, *, batch_size: int) -> Answers:
    """Run the module in double precision throughout; its floating outputs are float64 then."""
    module = doubled(source.module)
    return _run(replace(source, module=module), _exactly(inputs), batch_size=batch_size, precision=_double)


def perturbed(source: ExportSource, inputs: Tensors, *, batch_size: int, seed: int) -> tuple[Answers, list[Perturbed]]:
    """Run the module in double precision with results perturbed; return what was seen in each execution too."""
    modes: list[Perturbed] = []

    def precision() -> AbstractContextManager[object]:
        modes.append(Perturbed(seed))
        return _double(modes[-1])

    doubled_source = replace(source, module=doubled(source.module))
    answers = _run(doubled_source, _exactly(inputs), batch_size=batch_size, precision=precision)
    return answers, modes


def _exactly(inputs: Tensors) -> dict[str, Array]:
    return {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in inputs.items()}


@contextmanager
def _double(mode: InFloat64 | None = None) -> Iterator[None]:
    # Not inference mode: it would hand over composite operators whole, and casts inside them would go unseen.
    with torch.no_grad(), mode or InFloat64():
        yield


def _run(
    source: ExportSource,
    inputs: Tensors,
    *,
    batch_size: int,
    precision: Callable[[], AbstractContextManager[object]],
    check: bool = False,
) -> Answers:
    signature = source.signature
    names = [spec.name for spec in signature.outputs]
    taken: dict[str, str] = {}

    def run(batch: Tensors) -> dict[str, Array]:
        # Copies: a module may write to its inputs, and the samples are compared more than once.
        arguments = [torch.from_numpy(batch[spec.name].copy()) for spec in signature.inputs]
        company = f"{len(arguments[0])} rows" if signature.batched else "one request"
        try:
            with one_thread(), Decisions() as decisions, LastSteps() as last, precision():
                outputs = source.module(*arguments)
        except Exception as error:
            raise ExportError(f"the eager model fails on {company}: {first_line(error)}") from error
        if not isinstance(outputs, tuple) or len(outputs) != len(names) or not all(map(torch.is_tensor, outputs)):
            raise ExportError(f"the eager model: expected a tuple of {len(names)} tensors, found {_shown(outputs)}")
        answers = {f"output:{name}": output.numpy() for name, output in zip(names, outputs, strict=True)}
        entered: list[Tensor] = []
        for spec, output in zip(signature.outputs, outputs, strict=True):
            if check:
                _check(signature, spec, answers[f"output:{spec.name}"], rows=len(arguments[0]) if signature.batched else 1)
            if (before := last.before(output)) is not None:
                taken[spec.name], tensor = before
                answers[f"before:{spec.name}"] = tensor.numpy()
                entered.append(tensor)
        for name, output in zip(names, outputs, strict=True):
            scores = None if output.is_floating_point() else decisions.scores(output)
            if scores is None:
                continue
            answers[f"scores:{name}"] = scores.numpy()
            # What is looked at before a softmax need not be looked at once more before the argmax.
            if not any(scores.data_ptr() == tensor.data_ptr() for tensor in entered):
                taken[name] = "argmax"
                answers[f"before:{name}"] = scores.numpy()
        return answers

    try:
        answers = batches.run_all(run, signature, inputs, batch_size=batch_size)
    except ValueError as error:
        raise ExportError(f"the eager model gives outputs of another shape for each request: {error}") from error
    return Answers(
        outputs={name: answers[f"output:{name}"] for name in names},
        scores={name: answers[f"scores:{name}"] for name in names if f"scores:{name}" in answers},
        before={name: answers[f"before:{name}"] for name in names if f"before:{name}" in answers},
        steps=taken,
    )


def _check(signature: Signature, spec: TensorSpec, output: Array, *, rows: int) -> None:
    """Raise ExportError for an output that is not the one of the signature."""
    try:
        signature.check_tensor(spec, output)
    except SignatureError as error:
        raise ExportError(f"the eager model does not keep its signature: {error}") from None
    if signature.batched and len(output) != rows:
        raise ExportError(
            f"the eager model does not keep its signature: {spec.name}: expected {rows} rows, as in its inputs, found "
            f"{len(output)}; where rows are answered for together, give the signature max_batch_size 0"
        )


def _shown(outputs: object) -> str:
    """Return what came instead of a tuple of tensors, in a few words."""
    kinds = ", ".join(type(output).__name__ for output in outputs) if isinstance(outputs, tuple) else ""
    return f"{type(outputs).__name__}({kinds})" if kinds else type(outputs).__name__
