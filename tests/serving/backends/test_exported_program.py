"""An exported program in which something would run is refused before torch opens it; torch alone would run it."""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export.pt2_archive import PT2ArchiveReader

from models.program import ProgramError, check
from models.repository import Repository
from serving.backends.base import ArtifactBytes, BackendError
from serving.backends.exported_program import ExportedProgramBackend
from tests import toys

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


@pytest.fixture
def records(toy_in_every_format: Path) -> Records:
    data = (Repository(toy_in_every_format).open("toy", 1).path / "model.pt2").read_bytes()
    reader = PT2ArchiveReader(io.BytesIO(data))
    return {name: reader.read_bytes(name) for name in reader.get_file_names()}


def archive(records: Records) -> bytes:
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, data in records.items():
        if not name.startswith(".data/") and name != "byteorder":  # the writer's own
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def edited(records: Records, name: str, edit: Callable[[Any], None]) -> Records:
    content = json.loads(records[name])
    edit(content)
    return {**records, name: json.dumps(content).encode()}


def graph(program: Any) -> Any:
    return program["graph_module"]["graph"]


def pickled(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Bomb(mark),), {}), buffer)
    return buffer.getvalue()


def in_its_samples(records: Records, mark: Path) -> Records:
    return {**records, SAMPLES: pickled(mark)}


def in_a_weight(records: Records, mark: Path) -> Records:
    def edit(config: Any) -> None:
        config["config"]["weights"]["use_pickle"] = True

    return {**edited(records, WEIGHTS, edit), "data/weights/weight_0": pickled(mark)}


def in_old_weights(records: Records, mark: Path) -> Records:
    return {**records, "data/weights/model.pt": pickled(mark)}


def in_an_opaque_constant(records: Records, mark: Path) -> Records:
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    changed = edited(
        records, "data/constants/model_constants_config.json", lambda found: found["config"].update(secret=payload)
    )
    return {**changed, "data/constants/opaque_obj_0": pickle.dumps(Bomb(mark))}


def in_a_size(records: Records, mark: Path) -> Records:
    def edit(program: Any) -> None:
        sizes = next(value["sizes"] for value in graph(program)["tensor_values"].values() if "as_expr" in value["sizes"][0])
        sizes[0]["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(mark)!r})"

    return edited(records, PROGRAM, edit)


RUN_BY_TORCH = [in_its_samples, in_a_weight, in_old_weights, in_an_opaque_constant, in_a_size]


@pytest.mark.parametrize("craft", RUN_BY_TORCH, ids=lambda craft: craft.__name__)
@pytest.mark.filterwarnings("ignore")
def test_what_torch_would_run_is_refused_before_it_can(
    records: Records, craft: Callable[[Records, Path], Records], tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    data = archive(craft(records, mark))
    with pytest.raises(BackendError, match=r"^model\.pt2: [^\n]*(expected|found)") as error:
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)
    assert str(tmp_path) not in str(error.value) or craft is in_a_size
    assert not mark.exists()
    # The evidence that there is something to refuse: torch's own loader runs it.
    with contextlib.suppress(Exception):  # it may fail afterwards, whatever it says
        torch.export.load(io.BytesIO(data))
    assert mark.exists()


def target(name: str) -> Callable[[Any], None]:
    return lambda program: graph(program)["nodes"][0].update(target=name)


def named(program: Any) -> None:
    graph(program)["nodes"][0]["name"] = "x\n    import os"


def argument(program: Any) -> None:
    program["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = ["x=print(1)"]


def nesting(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace("builtins.tuple", "collections.defaultdict")


def enumeration(program: Any) -> None:
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


@pytest.mark.parametrize(("edit", "why"), CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_program_is_refused(records: Records, edit: Callable[[Any], None], why: str) -> None:
    data = archive(edited(records, PROGRAM, edit))
    with pytest.raises(BackendError, match=rf"^model\.pt2: {why}"):
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)


@pytest.mark.parametrize("name", ["data/aotinductor/model/model.so", "extra/notes", "models/other.json", "data/weights/x"])
def test_a_record_that_export_does_not_write_is_refused(records: Records, name: str) -> None:
    data = archive({**records, name: b"{}"})
    with pytest.raises(BackendError, match=r"^model\.pt2: expected records of numbers and one program, found"):
        ExportedProgramBackend().open(ArtifactBytes("model.pt2", data), toys.signature(), device="cpu", threads=1)


def test_the_records_taken_apart_and_put_together_are_still_opened(records: Records) -> None:
    held = ArtifactBytes("model.pt2", archive(records))
    session = ExportedProgramBackend().open(held, toys.signature(), device="cpu", threads=1)
    pixels = toys.images(3)
    assert (session.run({"image": pixels})["class"] == toys.reference(pixels)["class"]).all()
    session.close()


def test_every_operator_of_this_torch_that_names_a_file_is_refused(records: Records) -> None:
    # A new release may bring another one: what it calls the argument is how it would be noticed.
    schemas = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]
    files = {
        schema.name.removeprefix("aten::")
        for schema in schemas
        if any("file" in argument.name for argument in schema.arguments)
    }
    assert {"from_file", "save"} <= files
    for name in files:
        changed = edited(records, PROGRAM, target(f"torch.ops.aten.{name}.default"))
        with pytest.raises(ProgramError, match="expected operators on tensors"):
            check(list(changed), changed.__getitem__)
