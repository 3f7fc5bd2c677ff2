"""Exported programs that an attacker would write: records in which torch's own loader, or a graph, would run something.

tests/serving/backends/test_exported_program.py has the evidence that torch alone would run those of RUN_BY_TORCH.
"""

import io
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive import PT2ArchiveReader

PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"

Records = dict[str, bytes]


class Bomb:
    """Leaves a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._mark,)


def records_of(path: Path) -> Records:
    """Return an honest program's records by name."""
    reader = PT2ArchiveReader(io.BytesIO(path.read_bytes()))
    return {name: reader.read_bytes(name) for name in reader.get_file_names()}


def archive(records: Records) -> bytes:
    """Return records as the file that torch reads."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in records.items():
        if not name.startswith(".data/") and name != "byteorder":  # the writer's own
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def edited(records: Records, name: str, edit: Callable[[Any], None]) -> Records:
    """Return the records with the JSON of one of them changed."""
    content = json.loads(records[name])
    edit(content)
    return {**records, name: json.dumps(content).encode()}


def graph(program: Any) -> Any:
    """Return the graph of a program."""
    return program["graph_module"]["graph"]


def pickled(mark: Path) -> bytes:
    """Return a torch file that leaves its mark when it is unpickled."""
    buffer = io.BytesIO()
    torch.save(((Bomb(mark),), {}), buffer)
    return buffer.getvalue()


def in_its_samples(records: Records, mark: Path) -> Records:
    """Put a pickle where sample inputs are kept."""
    return {**records, SAMPLES: pickled(mark)}


def in_a_weight(records: Records, mark: Path) -> Records:
    """Put a pickle in the place of a weight."""

    def edit(config: Any) -> None:
        config["config"]["weights"]["use_pickle"] = True

    return {**edited(records, WEIGHTS, edit), "data/weights/weight_0": pickled(mark)}


def in_old_weights(records: Records, mark: Path) -> Records:
    """Put a pickle where older versions kept weights."""
    return {**records, "data/weights/model.pt": pickled(mark)}


def in_an_opaque_constant(records: Records, mark: Path) -> Records:
    """Put a pickle where objects without a tensor are kept."""
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    changed = edited(
        records, "data/constants/model_constants_config.json", lambda found: found["config"].update(secret=payload)
    )
    return {**changed, "data/constants/opaque_obj_0": pickle.dumps(Bomb(mark))}


def in_a_size(records: Records, mark: Path) -> Records:
    """Put Python into the size of an axis, which torch evaluates."""

    def edit(program: Any) -> None:
        sizes = next(value["sizes"] for value in graph(program)["tensor_values"].values() if "as_expr" in value["sizes"][0])
        sizes[0]["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(mark)!r})"

    return edited(records, PROGRAM, edit)


RUN_BY_TORCH = [in_its_samples, in_a_weight, in_old_weights, in_an_opaque_constant, in_a_size]


def target(name: str) -> Callable[[Any], None]:
    """Return what has the first node call something else."""
    return lambda program: graph(program)["nodes"][0].update(target=name)


def named(program: Any) -> None:
    """Name a node by source code."""
    graph(program)["nodes"][0]["name"] = "x\n    import os"


def argument(program: Any) -> None:
    """Name an argument by source code."""
    program["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = ["x=print(1)"]


def nesting(program: Any) -> None:
    """Have a container imported."""
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace("builtins.tuple", "collections.defaultdict")


def enumeration(program: Any) -> None:
    """Have an enumeration imported."""
    context = json.dumps({"__enum__": True, "fqn": "antigravity:x", "name": "y"})
    spec = {"type": "builtins.tuple", "context": context, "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, spec])


CRAFTED: dict[str, tuple[Callable[[Any], None], str]] = {
    "any function of torch": (target("torch.hub.load"), "expected operators on tensors"),
    "a module of torch": (target("torch.os.system"), "expected operators on tensors"),
    "a function of Python": (target("_operator.methodcaller"), "expected operators on tensors"),
    "an extension": (target("#thing:name"), "expected operators on tensors"),
    "another library's operator": (target("torch.ops.other.thing.default"), "expected operators on tensors"),
    "a file that is read": (target("torch.ops.aten.from_file.default"), "expected operators on tensors"),
    "a file that is written": (target("torch.ops.aten.save.default"), "expected operators on tensors"),
    "a name that is source code": (named, "name: expected letters"),
    "an argument that is source code": (argument, "forward_arg_names: expected letters"),
    "guards": (lambda program: program.update(guards_code=["print(1)"]), "guards_code: expected none, found Python"),
    "notes on a node": (
        lambda program: graph(program)["nodes"][0]["metadata"].update(custom=""),
        "metadata: expected none",
    ),
    "a container that imports": (nesting, "expected arguments in tuples"),
    "an enumeration that imports": (enumeration, "context: expected the keys"),
}


#: Records that no export writes.
STRANGE = ["data/aotinductor/model/model.so", "extra/notes", "models/other.json", "data/weights/x"]


def programs() -> Mapping[str, Callable[[Records, Path], Records]]:
    """Return all crafted programs: from an honest one's records and where code that runs leaves its mark, its records."""

    def of(edit: Callable[[Any], None]) -> Callable[[Records, Path], Records]:
        return lambda records, _: edited(records, PROGRAM, edit)

    def beside(name: str) -> Callable[[Records, Path], Records]:
        return lambda records, _: {**records, name: b"{}"}

    return {
        **{f"a pickle {craft.__name__.replace('_', ' ')}": craft for craft in RUN_BY_TORCH},
        **{name: of(edit) for name, (edit, _) in CRAFTED.items()},
        **{f"a record {name}": beside(name) for name in STRANGE},
    }
