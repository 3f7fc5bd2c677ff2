"""The arguments of `sameway export --model`, and the subject that they describe."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export import foreign_origin
from export.adopt import read_inputs
from export.exporter import ExportError, Options
from export.factory import build
from export.foreign_module import MAX_BATCH_SIZE, evaluating, source_of
from export.foreign_weights import fill
from export.subject import Subject
from models.repository import sha256_of

#: What --model cannot do without, and what it can; each says nothing where a checkpoint is exported.
_NEEDED = ("inputs", "name")
_OTHERS = ("weights", "dynamic", "outputs", "max_batch_size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what goes with --model."""
    group = parser.add_argument_group("anyone's module", "with --model package.module:factory instead of a checkpoint")
    group.add_argument("--inputs", type=Path, metavar="NPZ", help="real inputs, an array under the name of each parameter")
    group.add_argument("--name", help="the model's name in the repository")
    group.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors, or a state dict as .pt; none: as the factory made them"
    )
    group.add_argument(
        "--dynamic",
        type=_dynamic,
        action="append",
        metavar="INPUT:AXIS[,AXIS]",
        help="axes of an input that are free besides the batch axis, which is axis 0",
    )
    group.add_argument("--outputs", type=_names, metavar="NAME[,NAME]", help="outputs wanted, or as many new names")
    group.add_argument(
        "--max-batch-size",
        type=_rows,
        metavar="ROWS",
        help=f"0 where there is no batch axis and the inputs are one request; none: {MAX_BATCH_SIZE}",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise ExportError for arguments that do not go together: none is accepted that would say nothing."""
    given = [name for name in (*_NEEDED, *_OTHERS) if getattr(arguments, name) is not None]
    if arguments.model is None and given:
        raise ExportError(f"{_flag(given[0])}: expected together with --model, found a checkpoint")
    if arguments.model is None:
        return
    for name in _NEEDED:
        if getattr(arguments, name) is None:
            raise ExportError(f"{_flag(name)}: expected with --model, found nothing")
    if arguments.data_dir is not None:
        raise ExportError("--data-dir: expected with a checkpoint only, whose model reads data, found --model")


@contextmanager
def subject(arguments: argparse.Namespace, options: Options) -> Iterator[Subject]:
    """Build the module and give it as a subject, in eval mode; raise ExportError."""
    inputs = read_inputs(arguments.inputs)
    module, file = build(arguments.model)
    weights = arguments.weights
    digest = foreign_origin.state_digest(module) if weights is None else fill(module, weights)
    recipe: dict[str, object] = {
        "model": arguments.model,
        "weights": "as the factory made them" if weights is None else weights.name,
        "inputs": arguments.inputs.name,
        "inputs_sha256": sha256_of(arguments.inputs),
    }
    dynamic: dict[str, list[int]] = {}
    for name, axes in arguments.dynamic or ():
        dynamic.setdefault(name, []).extend(axes)
    with evaluating(module):
        source = source_of(
            module,
            inputs,
            dynamic=dynamic,
            outputs=arguments.outputs,
            max_batch_size=arguments.max_batch_size,
            options=options,
        )
        origin = foreign_origin.origin_of(arguments.name, module, recipe, options=options, source_file=file)
        yield Subject(arguments.name, source, None, digest, origin)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _dynamic(word: str) -> tuple[str, list[int]]:
    name, colon, axes = word.rpartition(":")
    if not (name and colon and all(axis.isdecimal() for axis in axes.split(","))):
        raise argparse.ArgumentTypeError(f"expected INPUT:AXIS or INPUT:AXIS,AXIS, found {word!r}")
    return name, [int(axis) for axis in axes.split(",")]


def _names(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(","))


def _rows(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {word!r}")
    return int(word)
