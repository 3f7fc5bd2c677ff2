"""A module by the name of its factory: whatever somebody's code does is a module or one line that says where to look."""

import sys
from pathlib import Path

import pytest
from torch import nn

from export.exporter import ExportError
from export.factory import build

FACTORIES = """
import sys
from torch import nn
THERE = nn.Linear(2, 2)
class Parts:
    built = staticmethod(lambda: nn.ReLU())
def fails():
    return {}["weights"]
def leaves():
    sys.exit(3)
def answers_a_number():
    return 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a package of somebody else's, which is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("theirs", "theirs.net", "broken", "models.theirs_too"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "net.py").write_text(FACTORIES)
    (tmp_path / "broken.py").write_text("import torch\n\ndef build(:\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [("theirs.net:THERE", nn.Linear), ("theirs.net:Parts.built", nn.ReLU), ("torch.nn:Identity", nn.Identity)],
)
def test_a_function_a_class_or_a_module_that_is_there(name: str, kind: type[nn.Module], folder: Path) -> None:
    module, file = build(name)
    assert type(module) is kind
    assert file == folder / "theirs" / "net.py" or name.startswith("torch")


def test_a_package_with_the_name_of_one_of_ours_is_found_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import models

    monkeypatch.setattr(models, "__path__", list(models.__path__))
    (folder / "models").mkdir()
    (folder / "models" / "theirs_too.py").write_text("from torch.nn import ReLU as build")
    assert type(build("models.theirs_too:build")[0]) is nn.ReLU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("theirs.net", r"--model: expected package\.module:factory, found 'theirs\.net'"),
        (":build", r"--model: expected package\.module:factory, found ':build'"),
        ("nowhere:build", r"cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("theirs.net:none", r"cannot be imported: AttributeError: module 'theirs\.net' has no attribute 'none'"),
        ("broken:build", r"cannot be imported: SyntaxError: invalid syntax .*\(broken\.py:3\)"),
        ("theirs.net:fails", r"building the module failed: KeyError: 'weights' \(theirs/net\.py:8\)"),
        ("theirs.net:leaves", r"building the module failed: SystemExit: 3 \(theirs/net\.py:10\)"),
        ("theirs.net:answers_a_number", r"expected a torch\.nn\.Module, or a function that returns one, found int 7"),
    ],
)
def test_what_fails_is_one_line_with_its_place(name: str, message: str) -> None:
    with pytest.raises(ExportError, match=rf"^(--model {name}: )?{message}$"):
        build(name)
