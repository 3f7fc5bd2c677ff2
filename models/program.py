"""What a `model.pt2` may hold: numbers, the names of operators, and nothing that runs when it is opened.

torch's loader unpickles sample inputs and some weights, evaluates texts as sympy and as Python, compiles the names of a
graph as source code, and loads shared libraries. All of that has its place in the archive, and none of it is needed: export
leaves those places empty, and a file in which one is not is refused before torch looks into it. The rules allow, they do
not forbid: a text that is not known to be harmless is refused.
"""

import json
import re
from collections.abc import Callable, Collection

#: The records of an archive, and how often export writes them. Weights and constants are raw numbers.
_RECORDS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|models/model\.json"
    r"|data/sample_inputs/model\.pt|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|data/weights/weight_[0-9]+|data/constants/tensor_[0-9]+"
)
_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_PAYLOADS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_[0-9]+"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_[0-9]+"),
}

#: Operators on tensors, and arithmetic on sizes: what the loader otherwise resolves is any attribute of torch.
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+|torch\.ops\.higher_order\.(cond|while_loop)"
    r"|torch\.sym_[a-z]+|math\.trunc|_operator\.[a-z_]+"
)
_ARITHMETIC = frozenset(
    f"_operator.{name}"
    for name in ("eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow", "truediv",
                 "and_", "or_", "lshift", "rshift", "getitem")
)  # fmt: skip
#: The operators of aten that read or write files.
_FILES = re.compile(r"torch\.ops\.aten\.(from_file|save|load)\.")

#: A size, as sympy writes it: symbols, whole numbers and the functions that sizes are made of. No attribute, no text.
_SYMBOL = re.compile(r"Symbol\('[su][0-9]+'(, (positive|nonnegative|integer)=True)*\)")
_SIZE_WORDS = frozenset(
    ("Integer", "Mul", "Add", "Pow", "Mod", "Max", "Min", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing",
     "PythonMod", "PowByNatural", "Where", "Identity", "true", "false", "Eq", "Ne", "And", "Or", "Not", "Rational",
     "Equality", "Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan")
)  # fmt: skip
_SIZE = re.compile(r"[A-Za-z0-9_ ,()-]*")

#: Names become source code. Those of modules and weights are reached by attribute, so they may have dots in them.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|")
_PATH = re.compile(r"[A-Za-z0-9_.]*")
_PATHS = ("fqn", "parameter_name", "buffer_name", "tensor_constant_name")
_VERSION = re.compile(r"[A-Za-z0-9_.+-]*")

#: How arguments and results nest: tuples, lists and dictionaries of tensors.
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


class ProgramError(Exception):
    """The archive holds what export does not write, and what might run when it is opened; the message says what."""


def check(records: Collection[str], read: Callable[[str], bytes]) -> None:
    """Raise ProgramError unless an archive of these records holds nothing that runs.

    `read` must be the very reader that the loader uses: two readers may see two archives in one file.
    """
    if len(set(records)) != len(records):
        raise ProgramError("expected every record once, found one twice")
    for name in records:
        if not _RECORDS.fullmatch(name):
            raise ProgramError(f"expected records of numbers and one program, found {name!r:.100}")
    for name in (_PROGRAM, _SAMPLES, *_PAYLOADS):
        if name not in records:
            raise ProgramError(f"expected the record {name!r}, found none")
    if read(_SAMPLES):
        raise ProgramError("sample inputs: expected none, found a pickle")
    for name, pattern in _PAYLOADS.items():
        _check_payloads(name, _json(name, read(name)), pattern)
    program = _json(_PROGRAM, read(_PROGRAM))
    try:
        _check(program, "")
    except RecursionError:
        raise ProgramError("program: expected a graph, found endless nesting") from None


def _json(name: str, data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"{name}: expected JSON: {error}") from None
    if not isinstance(found, dict):
        raise ProgramError(f"{name}: expected an object")
    return found


def _check_payloads(place: str, found: dict[str, object], pattern: re.Pattern[str]) -> None:
    """Raise ProgramError unless every weight is a record of raw numbers."""
    config = found.get("config")
    if not isinstance(config, dict):
        raise ProgramError(f"{place}: config: expected an object")
    for name, payload in config.items():
        _match(_PATH, name, "a weight's name")
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise ProgramError(f"{name}: expected raw numbers, found a pickle")
        path = payload.get("path_name")
        if not isinstance(path, str) or not pattern.fullmatch(path):
            raise ProgramError(f"{name}: expected a record of numbers, found {path!r:.100}")


def _check(value: object, key: str) -> None:
    """Raise ProgramError for any text in a value that is not known to be harmless under its key."""
    if isinstance(value, dict):
        if key == "metadata" and value:
            raise ProgramError("metadata: expected none, found some")
        for name, part in value.items():
            _match(_PATH, name, "a name")
            _check(part, name)
    elif isinstance(value, list):
        if key == "guards_code" and value:
            raise ProgramError(f"guards_code: expected none, found Python: {value[0]!r:.100}")
        for part in value:
            _check(part, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "target":
        _check_operator(text)
    elif key == "expr_str":
        _check_size(text)
    elif key in ("in_spec", "out_spec"):
        _check_nesting(text)
    elif key == "as_string":
        # An argument of an operator, as in einsum: it reaches the source code quoted.
        if not text.isprintable():
            raise ProgramError(f"as_string: expected printable characters, found {text!r:.100}")
    elif key == "torch_version":
        _match(_VERSION, text, "a version")
    elif key in _PATHS:
        _match(_PATH, text, key)
    else:
        _match(_NAME, text, key)


def _check_operator(text: str) -> None:
    known = _OPERATOR.fullmatch(text) and (not text.startswith("_operator") or text in _ARITHMETIC)
    if not known or _FILES.match(text):
        raise ProgramError(f"expected operators on tensors (torch.ops.aten), found {text!r:.100}")


def _check_size(text: str) -> None:
    rest = _SYMBOL.sub("0", text)
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", rest)
    if not _SIZE.fullmatch(rest) or not _SIZE_WORDS.issuperset(words):
        raise ProgramError(f"expr_str: expected a size, found {text!r:.100}")


def _check_nesting(text: str) -> None:
    try:
        protocol, spec = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise ProgramError(f"expected how arguments nest, found {text!r:.100}") from None
    if protocol != 1:
        raise ProgramError(f"expected how arguments nest by protocol 1, found {protocol!r:.100}")
    waiting = [spec]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict) or part.get("type") not in _CONTAINERS:
            raise ProgramError(f"expected arguments in tuples, lists and dictionaries, found {part!r:.100}")
        _check_context(part.get("context"))
        children = part.get("children_spec")
        if not isinstance(children, list):
            raise ProgramError("children_spec: expected a list")
        waiting += children


def _check_context(context: object) -> None:
    """Raise ProgramError unless this says nothing, or lists the keys of a dictionary."""
    try:
        keys = json.loads(context) if isinstance(context, str) else context
    except (ValueError, RecursionError):
        keys = context
    if keys is not None and not (isinstance(keys, list) and all(isinstance(k, str) and _NAME.fullmatch(k) for k in keys)):
        raise ProgramError(f"context: expected the keys of a dictionary, found {context!r:.100}")


def _match(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise ProgramError(f"{what}: expected letters, digits and '_', found {text!r:.100}")
