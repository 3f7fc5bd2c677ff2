import platform
import subprocess
from pathlib import Path

import pytest
import torch

from models.manifest import Origin
from models.spec import Recipe
from training.origin import commit_of, origin_of

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.1, weight_decay=0.0)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "source.py").write_text("1")
    git(tmp_path, "add", "source.py")
    git(tmp_path, "commit", "--quiet", "--no-verify", "-m", "first")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout: Path) -> None:
    assert commit_of(checkout / "source.py") == (git(checkout, "rev-parse", "HEAD"), False)


def test_a_change_or_a_new_file_makes_it_dirty(checkout: Path) -> None:
    (checkout / "new.py").touch()
    assert commit_of(checkout / "source.py")[1] is True
    (checkout / "new.py").unlink()
    (checkout / "source.py").write_text("2")
    assert commit_of(checkout / "source.py")[1] is True


def test_a_file_that_is_not_tracked_has_no_commit(checkout: Path) -> None:
    (checkout / ".gitignore").write_text(".venv")
    installed = checkout / ".venv" / "source.py"
    installed.parent.mkdir()
    installed.touch()
    assert commit_of(installed) == (None, None)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "source.py").touch()
    assert commit_of(tmp_path / "source.py") == (None, None)


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "source.py").touch()
    git(tmp_path, "add", "source.py")
    assert commit_of(tmp_path / "source.py") == (None, None)


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout / "source.py") == (None, None)


def test_a_git_hook_does_not_mislead(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = commit_of(checkout / "source.py")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit_of(checkout / "source.py") == expected


def test_an_origin_says_how_to_make_the_weights_again() -> None:
    origin = origin_of("toy", RECIPE, seed=4, data="d" * 64, scores={"accuracy": 0.5})
    assert isinstance(origin, Origin)
    assert (origin.model, origin.seed, origin.data) == ("toy", 4, "d" * 64)
    assert Recipe(**origin.recipe) == RECIPE  # type: ignore[arg-type]  # JSON, read back
    assert origin.scores == {"accuracy": 0.5}
    assert origin.libraries["python"] == platform.python_version()
    assert origin.libraries["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"lightning", "numpy"} <= set(origin.libraries)
