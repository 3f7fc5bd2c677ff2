"""The rules, on the smallest archive that keeps them; real files and what torch makes of them: test_exported_program.py."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from models.program import ProgramError, check

LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
NESTING = json.dumps([1, {"type": "builtins.dict", "context": '["x", "y"]', "children_spec": [LEAF, LEAF]}])

WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
PROGRAM = "models/model.json"


def contents() -> dict[str, Any]:
    node = {
        "target": "torch.ops.aten.einsum.default",
        "name": "einsum",
        "metadata": {},
        "inputs": [{"name": "equation", "arg": {"as_string": "bij, bjk -> bik"}}, {"arg": {"as_float": 0.5}}],
    }
    size = "Mul(Integer(6), Symbol('s27', positive=True, integer=True))"
    graph = {"nodes": [node], "tensor_values": {"x": {"sizes": [{"as_expr": {"expr_str": size}}, {"as_int": 3}]}}}
    call = {"fqn": "network.features.0", "signature": {"in_spec": NESTING, "out_spec": NESTING, "forward_arg_names": ["x"]}}
    return {
        "archive_format": "pt2",
        WEIGHTS: {"config": {"network.0.weight": {"path_name": "weight_0", "use_pickle": False}}},
        CONSTANTS: {"config": {}},
        "data/weights/weight_0": "numbers",
        "data/sample_inputs/model.pt": "",
        PROGRAM: {
            "graph_module": {"graph": graph, "module_call_graph": [call], "metadata": {}},
            "torch_version": "2.13.0+cpu",
            "guards_code": [],
        },
    }


def judge(found: dict[str, Any]) -> None:
    data = {name: (part if isinstance(part, str) else json.dumps(part)).encode() for name, part in found.items()}
    check(list(data), data.__getitem__)


def test_numbers_operators_sizes_and_names_are_all_there_may_be() -> None:
    judge(contents())


def edit(*path: Any, value: object) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for step in path[:-1]:
            found = found[step]
        found[path[-1]] = value

    return change


NODE = (PROGRAM, "graph_module", "graph", "nodes", 0)
SIZE = (PROGRAM, "graph_module", "graph", "tensor_values", "x", "sizes", 0, "as_expr", "expr_str")
CALL = (PROGRAM, "graph_module", "module_call_graph", 0)

REFUSED = {
    "an unknown record": edit("data/weights/model.pt", value="old"),
    "a record in a folder above": edit("data/weights/../x", value="old"),
    "sample inputs": edit("data/sample_inputs/model.pt", value="pickle"),
    "a pickled weight": edit(WEIGHTS, "config", "network.0.weight", "use_pickle", value=True),
    "a weight that does not say": edit(WEIGHTS, "config", "network.0.weight", value={"path_name": "weight_0"}),
    "a weight elsewhere": edit(WEIGHTS, "config", "network.0.weight", "path_name", value="../x"),
    "a weight whose name is code": edit(WEIGHTS, "config", "x') or f('", value={"path_name": "weight_0"}),
    "weights that are none": edit(WEIGHTS, value=[]),
    "a constant object": edit(CONSTANTS, "config", "c", value={"path_name": "custom_obj_0", "use_pickle": False}),
    "a program that is none": edit(PROGRAM, value="[" * 100_000),
    "an operator of Python": edit(*NODE, "target", value="_operator.attrgetter"),
    "an attribute of torch": edit(*NODE, "target", value="torch.load"),
    "an operator below aten": edit(*NODE, "target", value="torch.ops.aten.__class__.x.y"),
    "a name with a dot": edit(*NODE, "name", value="torch.ops"),
    "a name in a list": edit(*CALL, "signature", "forward_arg_names", value=["x", "y=1"]),
    "a path with a bracket": edit(*CALL, "fqn", value="x[0]"),
    "notes": edit(*NODE, "metadata", value={"stack_trace": "x"}),
    "an argument with a line break": edit(*NODE, "inputs", value=[{"arg": {"as_string": "a\nb"}}]),
    "a size that calls": edit(*SIZE, value="open(Integer(1))"),
    "a size with an attribute": edit(*SIZE, value="Integer(1).func"),
    "a size with a text": edit(*SIZE, value="Symbol('x', commutative=False)"),
    "a size with a symbol of another name": edit(*SIZE, value="Symbol('s1); open(1)')"),
    "guards": edit(PROGRAM, "guards_code", value=["True"]),
    "nesting by another protocol": edit(*CALL, "signature", "in_spec", value=json.dumps([2, LEAF])),
    "nesting that is none": edit(*CALL, "signature", "in_spec", value="print(1)"),
    "nesting in another type": edit(*CALL, "signature", "in_spec", value=json.dumps([1, {**LEAF, "type": "x.y"}])),
    "nesting without children": edit(*CALL, "signature", "in_spec", value=json.dumps([1, {**LEAF, "children_spec": 3}])),
    "nesting with a context": edit(*CALL, "signature", "in_spec", value=json.dumps([1, {**LEAF, "context": '{"a": 1}'}])),
    "nesting with half a context": edit(*CALL, "signature", "in_spec", value=json.dumps([1, {**LEAF, "context": "["}])),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    found = contents()
    change(found)
    with pytest.raises(ProgramError, match="expected"):
        judge(found)


@pytest.mark.parametrize("name", [WEIGHTS, CONSTANTS, PROGRAM, "data/sample_inputs/model.pt"])
def test_a_record_that_is_missing_is_named(name: str) -> None:
    found = contents()
    del found[name]
    with pytest.raises(ProgramError, match=f"expected the record '{name}', found none"):
        judge(found)


def test_a_record_that_comes_twice_is_refused() -> None:
    with pytest.raises(ProgramError, match="found one twice"):
        check(["archive_format", "archive_format"], lambda name: b"")


def test_endless_nesting_is_refused() -> None:
    found: dict[str, Any] = contents()
    found[PROGRAM] = '{"a": ' + "[" * 5_000 + "]" * 5_000 + "}"
    with pytest.raises(ProgramError, match=r"expected JSON|endless nesting"):
        judge(found)
