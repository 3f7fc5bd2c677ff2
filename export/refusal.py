"""Why an exporter refused a module: one line that says where in the module, what, and what to do about it."""

import re
from collections.abc import Iterator

from torch import nn

from export.exporter import ExportSource, first_line
from export.named_module import unwrapped

#: What torch.export says of an axis that was to be free: its length in the example, the input, the axis.
_FIXED = (
    re.compile(r"a static shape of (?P<length>\d+) for dimension inputs\['(?P<name>[^']+)'\]\.shape\[(?P<axis>\d+)\]"),
    re.compile(r"marked L\['(?P<name>[^']+)'\]\.size\(\)\[(?P<axis>\d+)\] as dynamic .* a constant \((?P<length>\d+)\)"),
)

#: What each of the usual refusals asks for, by words of the message.
_REMEDIES = (
    ("data-dependent", "a decision in Python on a tensor's value; use torch.where or torch.cond, or --torchscript script"),
    ("No ONNX function found for", "no counterpart in ONNX; use other operators, or leave onnx out of --formats"),
)


def refusal(error: Exception, source: ExportSource) -> str:
    """Return the innermost cause in one line: exporters wrap it in advice that fills a screen."""
    chain = list(_chain(error))
    for part in chain:
        if (fixed := fixed_axis(str(part), source)) is not None:
            return fixed
    cause = chain[-1]
    # torch.compile's front end opens with what it was doing, and says what went wrong further down.
    lines = (line.strip() for line in str(cause).splitlines())
    said = next((line for line in lines if line.startswith("Explanation: ")), None) or first_line(cause)
    remedy = next((remedy for words, remedy in _REMEDIES if words in str(cause)), None)
    place = module_path(error, source.module)
    return "".join((f"in {place}: " if place else "", f"{remedy}: " if remedy else "", said))


def fixed_axis(message: str, source: ExportSource) -> str | None:
    """Return which free axis the module fixes, and what to do, where torch says that it does; None elsewhere."""
    found = next(filter(None, (pattern.search(message) for pattern in _FIXED)), None)
    if found is None:
        return None
    length, name, axis = found["length"], found["name"], found["axis"]
    if axis == "0" and source.signature.batched:
        example = len(source.example()[0])
        return (
            f"input {name!r}: the module fixes the batch axis to {length}, the {example} rows it was traced with; look for "
            f"a number where {name}.shape[0] or -1 is meant, or give the signature max_batch_size 1"
        )
    return (
        f"input {name!r}: the module fixes axis {axis}, which the signature declares free, to {length}; look for a number "
        f"where {name}.shape[{axis}] is meant, or give the signature that length"
    )


def module_path(error: BaseException, module: nn.Module) -> str | None:
    """Return the path of the innermost part of the module that was running when the error was raised, if any was."""
    names = {id(part): name for name, part in unwrapped(module).named_modules() if name}
    path = None
    for part in _chain(error):
        traceback = part.__traceback__
        while traceback is not None:
            path = names.get(id(traceback.tb_frame.f_locals.get("self")), path)
            traceback = traceback.tb_next
    return path


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, down to the first."""
    part: BaseException | None = error
    while part is not None:
        yield part
        part = part.__cause__
