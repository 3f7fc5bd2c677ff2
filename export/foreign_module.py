"""Anyone's module with real inputs by name, as a subject of export: nobody has written a signature, so a trial tells it.

Names and datatypes of the inputs are those of the arrays; names of the outputs those of the answer (`leaves.py`).
"""

import keyword
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from export import trial
from export.binding import bind
from export.blame import said
from export.exporter import DEFAULTS, ExportError, ExportSource, Options
from export.leaves import tensor
from export.named_module import NamedModule, named
from export.threads import one_thread
from export.trial import Axes, Shape
from models.tensors import DTYPES, Array, Signature, SignatureError, Tensors, TensorSpec

#: The largest batch where nobody states one: small networks gain little beyond it.
MAX_BATCH_SIZE = 32

#: The datatype of each numpy dtype. BF16 travels as UINT16, and is taken for that.
_DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items() if datatype not in ("BF16", "BYTES")}


def source_of(
    module: nn.Module,
    inputs: Mapping[str, Array | Tensor],
    *,
    dynamic: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
    max_batch_size: int | None = None,
    options: Options = DEFAULTS,
) -> ExportSource:
    """Return what exporters work from; the module has to be in eval mode (`evaluating`). Raise ExportError.

    `inputs` are real ones, [rows, …] under the names of the parameters of `forward`; under `max_batch_size` 0 one whole
    request. Where their first axes differ there is no batch axis either. `dynamic` names axes that are free besides the
    batch axis, counted as in the arrays. `outputs` selects some of the module's outputs by name, or, where these are other
    names and as many as it has, renames them.
    """
    if max_batch_size is not None and max_batch_size < 0:
        raise ExportError(f"max_batch_size: expected 0 or more, found {max_batch_size}")
    samples = {name: _array(name, given) for name, given in inputs.items()}
    if not samples:
        raise ExportError("inputs: expected one or more arrays, found none")
    _check_place(module)
    lengths = {array.shape[:1] for array in samples.values()}
    apart = len(lengths) > 1 or () in lengths
    if apart and max_batch_size:
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in samples.items())
        raise ExportError(f"inputs: expected as many rows in each for max_batch_size {max_batch_size}, found {found}")
    most = 0 if apart else MAX_BATCH_SIZE if max_batch_size is None else max_batch_size
    free = _free(samples, dynamic or {}, batched=most > 0)
    binding = bind(module, list(samples))
    inner, names = _chosen(list(_answer(named(module, binding, list(samples), ()), samples, most)), outputs)
    for name in names:
        if name in samples:
            raise ExportError(f"output {name!r}: an input has this name too; select or rename outputs")
    whole = named(module, binding, list(samples), inner)

    def call(tensors: Tensors) -> dict[str, Array]:
        return _arrays(whole, tensors, names)

    shapes = trial.rows(call, samples, most=most, free=free) if most else trial.whole(call, samples, free=free)
    datatypes = {name: _datatype(f"output {name!r}", array) for name, array in call(_few(samples, most)).items()}
    try:
        signature = Signature(
            inputs=tuple(_spec(name, array, free[name], batched=most > 0) for name, array in samples.items()),
            outputs=tuple(TensorSpec(name, datatypes[name], shapes[name]) for name in names),
            max_batch_size=most,
        )
    except SignatureError as error:
        raise ExportError(str(error)) from None
    # Without a batch axis samples are stacked requests, of which this is one.
    stacked = samples if most else {name: array[None] for name, array in samples.items()}
    return ExportSource(whole, signature, stacked, options)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode while the context is entered; its parts are what they were afterwards.

    Raise ExportError naming the parts that stay in training mode: their own `train` or `eval` keeps them there.
    """
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        left = [path or "the module itself" for path, part in module.named_modules() if part.training]
        if left:
            raise ExportError(
                f"{_listed(left)}: expected eval mode after module.eval(), found training mode, in which dropout and "
                "statistics are at work; let its train() pass the mode on"
            )
        yield
    finally:
        for part, training in before:
            part.training = training


def _array(name: str, given: Array | Tensor) -> Array:
    """Return an input as an array of a datatype that travels, under a name that a graph can have."""
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii() or name == "self":
        raise ExportError(f"input {name!r}: expected a name of letters, digits and underscores, as parameters have")
    if isinstance(given, Tensor):
        try:
            given = given.detach().cpu().numpy()
        except TypeError:
            raise ExportError(f"input {name!r}: expected a datatype that numpy has, found {given.dtype}") from None
    if not isinstance(given, np.ndarray | np.generic):  # a number of numpy is an array without axes
        raise ExportError(f"input {name!r}: expected an array or a tensor, found {type(given).__name__}")
    _datatype(f"input {name!r}", given)
    if 0 in given.shape:
        raise ExportError(f"input {name!r}: expected one or more values, found the shape {list(given.shape)}")
    return given


def _datatype(which: str, array: Array) -> str:
    if array.dtype not in _DATATYPES:
        raise ExportError(f"{which}: expected a datatype of {', '.join(_DATATYPES.values())}, found {array.dtype}")
    return _DATATYPES[array.dtype]


def _check_place(module: nn.Module) -> None:
    """Raise ExportError unless all weights are in this machine's memory, where the artifacts are compared."""
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        if weight.device.type != "cpu":
            remedy = "call module.cpu()" if weight.device.type != "meta" else "load its weights"
            raise ExportError(f"{name}: expected a tensor on the CPU, found it on {weight.device}; {remedy}")


def _free(samples: Tensors, dynamic: Mapping[str, Sequence[int]], *, batched: bool) -> Axes:
    """Return the free axes of every input besides the batch axis; raise ExportError for one that it does not have."""
    for name, axes in dynamic.items():
        if name not in samples:
            raise ExportError(f"dynamic: expected an input of {', '.join(samples)}, found {name!r}")
        first, end = int(batched), samples[name].ndim
        for axis in axes:
            if isinstance(axis, bool) or not isinstance(axis, int):
                raise ExportError(f"dynamic: input {name!r}: expected numbers of axes, found {axis!r}")
            if not first <= axis < end:
                why = "; axis 0 is the batch axis, which is free already" if batched and axis == 0 else ""
                expected = f"axes from {first} to {end - 1}" if first < end else "no axis, as it has no other"
                raise ExportError(f"dynamic: input {name!r}: expected {expected}, found {axis}{why}")
    return {name: frozenset(dynamic.get(name, ())) for name in samples}


def _spec(name: str, array: Array, free: frozenset[int], *, batched: bool) -> TensorSpec:
    shape: Shape = tuple(None if axis in free else length for axis, length in enumerate(array.shape))
    return TensorSpec(name, _datatype(name, array), shape[1:] if batched else shape)


def _chosen(found: Sequence[str], wanted: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the outputs under the names that the module gives them, and those that they get."""
    if wanted is None:
        return found, found
    if wanted and len(set(wanted)) == len(wanted):
        if set(wanted) <= set(found):
            return wanted, wanted
        if len(wanted) == len(found) and all(name.isidentifier() and name.isascii() for name in wanted):
            return found, wanted
    expected = f"some of {', '.join(found)}, or {len(found)} new names for them"
    raise ExportError(f"outputs: expected {expected}, found {', '.join(wanted) or 'none'}")


def _few(samples: Tensors, most: int) -> Tensors:
    return {name: array[:most] for name, array in samples.items()} if most else samples


def _answer(module: NamedModule, samples: Tensors, most: int) -> Mapping[str, object]:
    """Return all that the module answers on one batch, or on the one request."""
    few = _few(samples, most)
    company = f"{len(next(iter(few.values())))} rows of the inputs given" if most else "the inputs given"
    try:
        with one_thread(), torch.inference_mode():
            # Copies: the module may write to them.
            return module.answered([torch.from_numpy(array.copy()) for array in few.values()])
    except ExportError:
        raise
    except (Exception, SystemExit) as error:  # a module that exits would end a build as if all were well
        raise ExportError(f"the module fails on {company}: {said(error)}") from error


def _arrays(module: NamedModule, tensors: Tensors, names: Sequence[str]) -> dict[str, Array]:
    """Return what the module answers under the signature's names."""
    try:
        with one_thread(), torch.inference_mode():
            answers = module(*(torch.from_numpy(array.copy()) for array in tensors.values()))
    except ExportError:
        raise
    except (Exception, SystemExit) as error:
        raise ExportError(said(error)) from error
    arrays = {}
    for name, answer in zip(names, answers, strict=True):
        try:
            arrays[name] = tensor(name, answer).numpy()
        except TypeError as error:
            expected = "a datatype that numpy has"
            raise ExportError(f"output {name!r}: expected {expected}, found {answer.dtype}; end with .float()") from error
    return arrays


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, the first few where they are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
