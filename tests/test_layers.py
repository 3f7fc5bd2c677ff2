"""Guards of the architecture: who may import whom, and what serving never does.

The directions are those of docs/architecture.md. Imports are read from the sources, so one inside a function counts too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
STAGES = ("models", "training", "export", "serving", "loadtests", "proofs")

#: Stage → what of the other stages it may import, as prefixes of module names. Everything may import itself.
DIRECTIONS = {
    "models": (),
    "training": ("models", "export.exporter"),
    "export": ("models", "training.checkpoint"),
    "serving": ("models",),
    "loadtests": ("models",),
    "proofs": ("models",),
}

#: Inside serving, from the outside in; each may import its own layer and those after it.
LAYERS = (
    ("command", "settings"),
    ("frontends",),
    ("protocols", "limits"),
    ("engine",),
    ("backends", "model_config"),
    ("wire", "metrics", "errors", "request"),
)

#: The same for `models/*.py`, the files that serving may use: what they may import besides the standard library and numpy.
CONTRACT_EXTRAS = {"content": {"PIL"}, "spec": {"torch"}}

FORBIDDEN_IN_SERVING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


class Import(NamedTuple):
    """One import statement: what it names, whether a function holds it, and whether only type checkers see it."""

    module: str
    line: int
    deferred: bool
    typing_only: bool


def sources(stage: str) -> list[Path]:
    return [path for path in sorted((ROOT / stage).rglob("*.py")) if not any(part.isdigit() for part in path.parts)]


def imports(path: Path) -> Iterator[Import]:
    """Yield every import of a file. `from a import b` counts as `a` and as `a.b`: b may be a module."""
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), deferred=False, typing_only=False)


def _walk(node: ast.AST, *, deferred: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, deferred, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import hides the direction"
            yield Import(child.module or "", child.lineno, deferred, typing_only)
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, deferred, typing_only)
        guarded = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, deferred=deferred or inside, typing_only=typing_only or guarded)


def below(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def layer_of(path: Path) -> int:
    """Return the number of the layer a file of serving is in; `__init__.py` is in none of them: it imports nothing."""
    name = path.relative_to(ROOT / "serving").parts[0].removesuffix(".py")
    return next((number for number, names in enumerate(LAYERS) if name in names), -1)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_lies_in_its_direction(stage: str) -> None:
    files = sources(stage)
    assert files, f"no sources found under {stage}/"
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for path in files
        for found in imports(path)
        if found.module.split(".")[0] in STAGES
        and not any(below(found.module, prefix) or below(prefix, found.module) for prefix in (stage, *DIRECTIONS[stage]))
    ]
    assert not wrong


@pytest.mark.parametrize("stage", ["export", "training"])
def test_a_stage_that_may_use_one_module_of_another_uses_no_more_of_it(stage: str) -> None:
    allowed = next(prefix for prefix in DIRECTIONS[stage] if "." in prefix)
    other = allowed.split(".")[0]
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for path in sources(stage)
        for found in imports(path)
        if below(found.module, other) and not (below(found.module, allowed) or found.module == other)
    ]
    assert not wrong


@pytest.mark.parametrize("stage", ["serving", "loadtests"])
def test_what_runs_in_production_imports_no_code_of_a_model(stage: str) -> None:
    contracts = {path.stem for path in (ROOT / "models").glob("*.py")} - {"spec"}
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for path in sources(stage)
        for found in imports(path)
        if found.module.startswith("models.") and found.module.split(".")[1] not in contracts
    ]
    assert not wrong


#: gunicorn is given a front end by name and has nobody to wire it: that one function asks for it, when it is called.
OUTWARDS = {("serving/frontends/flask_app.py", "serving.command"), ("serving/frontends/flask_app.py", "serving.settings")}


def test_inside_serving_imports_go_inwards() -> None:
    wrong = []
    for path in sources("serving"):
        layer = layer_of(path)
        for found in imports(path):
            parts = found.module.split(".")
            if parts[0] != "serving" or len(parts) < 2:
                continue
            if found.deferred and (str(path.relative_to(ROOT)), ".".join(parts[:2])) in OUTWARDS:
                continue
            target = next((number for number, names in enumerate(LAYERS) if parts[1] in names), None)
            if target is None:
                wrong.append(f"{path.relative_to(ROOT)}:{found.line}: {found.module} is in no layer")
            elif target < layer:
                wrong.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.module}, further out")
    assert not wrong


def test_every_file_of_serving_is_in_a_layer() -> None:
    files = [path for path in sources("serving") if path != ROOT / "serving" / "__init__.py"]
    assert [path.name for path in files if layer_of(path) < 0] == []


def test_front_ends_and_protocols_are_the_only_ones_that_have_heard_of_http() -> None:
    web = ("fastapi", "starlette", "uvicorn", "httptools", "python_multipart", "serving.protocols", "serving.frontends")
    inner = [path for path in sources("serving") if layer_of(path) >= 3]
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for path in inner
        for found in imports(path)
        if any(below(found.module, name) for name in web)
    ]
    assert inner
    assert not wrong


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.name)
def test_the_contracts_need_only_the_standard_library_and_numpy(path: Path) -> None:
    extras = CONTRACT_EXTRAS.get(path.stem, set())
    for found in imports(path):
        top = found.module.split(".")[0]
        if top in sys.stdlib_module_names or top in {"numpy", "models"}:
            continue
        assert top in extras, f"line {found.line} imports {found.module}"
        assert found.typing_only or (top == "PIL" and found.deferred), f"line {found.line} imports {found.module} at import"


@pytest.mark.parametrize("path", sources("serving"), ids=lambda path: str(path.relative_to(ROOT)))
def test_serving_neither_unpickles_nor_evaluates(path: Path) -> None:
    assert not [found for found in imports(path) if found.module.split(".")[0] in FORBIDDEN_IN_SERVING]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in {"eval", "exec", "compile", "__import__", "torch.load", "joblib.load", "os.system"}, called
        unsafe = [word for word in node.keywords if word.arg in {"allow_pickle", "weights_only"}]
        assert not [word for word in unsafe if ast.unparse(word) in {"allow_pickle=True", "weights_only=False"}], called


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cli", {"torch", "numpy", "fastapi", "onnxruntime", "lightning"}),
        ("serving.command", {"torch", "lightning", "pytorch_lightning", "onnx", "onnxscript", "onnxruntime", "safetensors"}),
        ("models.spec", {"torch", "PIL"}),
    ],
)
def test_importing_a_module_leaves_heavy_ones_alone(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(finished.stdout.split()) & absent == set()
