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
    # `evaluate` scores published versions too: it finds and opens them as `verify` does.
    "training": ("models", "export.exporter", "export.opening", "export.version_path"),
    "export": (
        "models",
        "training.checkpoint",
        "training.origin",
        "training.scores",
        "training.bootstrap",
        "training.mcnemar",
    ),
    "serving": ("models",),
    "loadtests": ("models",),
    # The attack on artifacts opens them as the server does, with its parsers watched; all others ask a server process.
    "proofs": ("models", "serving"),
}

#: Programs beside a model, which score its checkpoint as training does, beside what is compared with it. No
#: stage imports one (tested below).
PROGRAMS = {"baseline.py"}

#: Inside serving, from the outside in; each may import its own layer and those after it.
LAYERS = (
    (
        "command",
        "supervisor",
        "child",
        "worker",
        "engine_process",
        "frontend_process",
        "process",
        "on_ray",
        "health",
        "healthcheck",
        "control_plane",
        "reconciler",
        "observers",
        "settings",
        "new_key",
    ),
    ("frontends", "access_log", "telemetry"),
    ("protocols", "limits"),
    ("access",),
    ("engine",),
    ("backends", "model_config", "config_file", "triton_config", "protobuf_fields", "protobuf_text"),
    (
        "wire",
        "metrics",
        "exposition",
        "readings",
        "figures",
        "block_bytes",
        "counters",
        "errors",
        "request",
        "keys",
        "gpu",
        "line_writer",
        "spread",
    ),
)

#: The same for `models/*.py`, the files that serving may use: what they may import besides the standard library and numpy.
#: `cryptography` only once a key is read: neither side needs it for versions that nobody signs.
CONTRACT_EXTRAS = {"image_content": {"PIL"}, "spec": {"torch"}, "signing": {"cryptography"}}

#: What unpickles, what fetches from elsewhere, and what runs other programs. At serve time nothing does any of it.
UNPICKLES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "copyreg", "jsonpickle", "pandas"}
FETCHES = {
    "urllib.request", "http.client", "ftplib", "smtplib", "telnetlib", "xmlrpc", "requests", "httpx", "aiohttp", "urllib3",
    "websockets", "huggingface_hub", "boto3", "fsspec", "torch.hub", "pooch",
}  # fmt: skip
RUNS = {"subprocess", "multiprocessing", "pty", "runpy", "code", "codeop", "ctypes.util"}
FORBIDDEN_IN_SERVING = UNPICKLES | FETCHES | RUNS

#: Who may nevertheless, and why: the supervisor's processes are `sameway serve` itself; a health check is a process of its
#: own, and asks the server beside it.
ALLOWED_IN_SERVING = {("serving/child.py", "subprocess"), ("serving/healthcheck.py", "http.client")}

#: Calls that turn data into code, or run it.
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.package.PackageImporter", "joblib.load", "os.system",
    "os.popen", "os.execv", "os.execve", "os.posix_spawn", "yaml.load", "yaml.unsafe_load",
}  # fmt: skip

#: `importlib.import_module` takes a name: only these files call it, with names from a table of their own.
IMPORTS_BY_NAME = {"serving/backends/base.py"}


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
        and not any(
            below(found.module, prefix) or below(prefix, found.module)
            for prefix in (stage, *DIRECTIONS[stage], *(("training",) if path.name in PROGRAMS else ()))
        )
    ]
    assert not wrong


@pytest.mark.parametrize("stage", ["export", "training"])
def test_a_stage_that_may_use_one_module_of_another_uses_no_more_of_it(stage: str) -> None:
    allowed = [prefix for prefix in DIRECTIONS[stage] if "." in prefix]
    (other,) = {prefix.split(".")[0] for prefix in allowed}
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for path in sources(stage)
        for found in imports(path)
        if below(found.module, other) and found.module != other
        if not any(below(found.module, prefix) or below(prefix, found.module) for prefix in allowed)
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


def test_a_program_beside_a_model_is_imported_by_no_stage() -> None:
    names = {name.removesuffix(".py") for name in PROGRAMS}
    wrong = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for stage in STAGES
        for path in sources(stage)
        for found in imports(path)
        if found.module.startswith("models.") and found.module.split(".")[-1] in names
    ]
    assert not wrong


#: gunicorn is given a front end by name and has nobody to wire it: that one function asks for it, when it is called.
OUTWARDS = {("serving/frontends/flask_app.py", "serving.process"), ("serving/frontends/flask_app.py", "serving.settings")}


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
        assert found.typing_only or (top in {"PIL", "cryptography"} and found.deferred), (
            f"line {found.line} imports {found.module} at import"
        )


#: What a serving process is made of: its own files, and those of models/ that it may use.
SERVED = [*sources("serving"), *(path for path in sorted((ROOT / "models").glob("*.py")) if path.stem != "spec")]


@pytest.mark.parametrize("path", SERVED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_serves_neither_unpickles_nor_fetches_nor_runs_programs(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for found in imports(path):
        guilty = {module for module in FORBIDDEN_IN_SERVING if below(found.module, module)}
        assert all((name, module) in ALLOWED_IN_SERVING for module in guilty), f"line {found.line} imports {found.module}"


@pytest.mark.parametrize("path", SERVED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_serves_turns_no_data_into_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called, words = ast.unparse(node.func), {ast.unparse(word) for word in node.keywords}
        assert called not in FORBIDDEN_CALLS, f"line {node.lineno}: {called}"
        assert not words & {"allow_pickle=True", "weights_only=False"}, f"line {node.lineno}: {called}"
        if called in {"np.load", "numpy.load"}:
            assert "allow_pickle=False" in words, f"line {node.lineno}: {called}"
        if called in {"importlib.import_module", "import_module"}:
            assert str(path.relative_to(ROOT)) in IMPORTS_BY_NAME, f"line {node.lineno}: {called}"


def test_only_the_files_named_for_it_know_ray() -> None:
    users = {str(path.relative_to(ROOT)) for path in SERVED for found in imports(path) if below(found.module, "ray")}
    assert users == {f"serving/engine/{name}.py" for name in ("ray", "ray_calls", "ray_replica")}


def test_only_signing_knows_cryptography() -> None:
    users = {
        str(path.relative_to(ROOT)) for path in SERVED for found in imports(path) if below(found.module, "cryptography")
    }
    assert users == {"models/signing.py"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cli", {"torch", "numpy", "fastapi", "onnxruntime", "lightning"}),
        (
            "serving.command",
            {
                "torch",
                "lightning",
                "pytorch_lightning",
                "onnx",
                "onnxscript",
                "onnxruntime",
                "safetensors",
                "opentelemetry",
                "pynvml",
                "ray",
            },
        ),
        ("models.spec", {"torch", "PIL"}),
    ],
)
def test_importing_a_module_leaves_heavy_ones_alone(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(finished.stdout.split()) & absent == set()
