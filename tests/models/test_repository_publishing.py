"""How a version comes into the repository: whole or not at all, whoever else publishes and whatever fails."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from models.content import LabelContent
from models.repository import Repository, RepositoryError
from tests.models import factory
from tests.models.folders import altered, names

ROOT = Path(__file__).parents[2]


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Start another process of this project."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_is_not_published_is_gone(tmp_path: Path) -> None:
    with Repository(tmp_path).staging("toy") as staged:
        factory.fill(staged)
    assert names(tmp_path / "toy") == []


def test_what_fails_before_it_is_published_is_gone(tmp_path: Path) -> None:
    def fail() -> None:
        with Repository(tmp_path).staging("toy") as staged:
            factory.fill(staged)
            raise KeyError("something else went wrong")

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path / "toy") == []


def test_a_manifest_that_does_not_describe_its_files_is_not_published(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with repository.staging("toy") as staged:
        manifest = factory.fill(staged)
        altered(staged / "model.onnx")
        with pytest.raises(RepositoryError, match=r"toy/1: model\.onnx: expected sha256"):
            repository.publish(staged, manifest)
    with repository.staging("toy") as staged:
        manifest = factory.fill(staged)
        assert manifest.content is not None
        assert isinstance(manifest.content.output, LabelContent)
        labels = replace(manifest.content.output, labels=("one",))
        with pytest.raises(RepositoryError, match="content: scores"):
            repository.publish(staged, replace(manifest, content=replace(manifest.content, output=labels)))
    assert names(tmp_path / "toy") == []


def test_a_manifest_that_json_cannot_express_is_not_published(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"deeper": deep}
    for recipe in ({"learning_rate": float("nan")}, {"optimizer": "\ud800"}, deep):
        with repository.staging("toy") as staged:
            manifest = factory.fill(staged)
            broken = replace(manifest, origin=replace(manifest.origin, recipe=recipe))
            with pytest.raises(RepositoryError, match=r"toy/1: manifest\.json cannot be written: "):
                repository.publish(staged, broken)
    assert names(tmp_path / "toy") == []


def test_an_abandoned_folder_of_another_user_does_not_stop_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    foreign = tmp_path / "toy" / ".staging-foreign"
    foreign.mkdir(parents=True)

    def refuse(path: object, flags: int, mode: int = 0o777, **options: int) -> int:
        if path == foreign:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, mode, **options)  # type: ignore[arg-type]  # whatever os.open takes

    monkeypatch.setattr(os, "open", refuse)
    assert factory.publish(tmp_path).manifest.version == 1
    assert names(tmp_path / "toy") == [".staging-foreign", "1"]


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.rename", "pathlib.Path.write_bytes", "pathlib.Path.chmod"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    repository = Repository(tmp_path)
    factory.publish(tmp_path)
    with repository.staging("toy") as staged:
        manifest = factory.fill(staged)
        monkeypatch.setattr(place, no_space)
        with pytest.raises(RepositoryError, match=r"cannot publish to .*toy: No space left on device"):
            repository.publish(staged, manifest)
        monkeypatch.undo()
    assert names(tmp_path / "toy") == ["1"]
    assert factory.publish(tmp_path).manifest.version == 2


def test_a_full_disk_before_staging_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", no_space)
    with pytest.raises(RepositoryError, match=r"cannot write to .*: No space left"), Repository(tmp_path).staging("toy"):
        pass


def test_a_root_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("in the way")
    with pytest.raises(RepositoryError, match=r"cannot write to .*: Not a directory"), Repository(root).staging("toy"):
        pass
    with pytest.raises(RepositoryError, match="Not a directory"):
        Repository(root).models()


def test_threads_that_publish_at_once_get_different_versions(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda _: factory.publish(tmp_path).manifest.version, range(24)))
    assert sorted(published) == list(range(1, 25))
    assert Repository(tmp_path).versions("toy") == list(range(1, 25))


def test_processes_that_publish_at_once_get_different_versions(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.models import factory\n"
        "for _ in range(5): print(factory.publish(Path(sys.argv[1])).manifest.version)"
    )
    processes = [python(code, str(tmp_path)) for _ in range(3)]
    published = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(published) == list(range(1, 16))
    assert names(tmp_path / "toy") == sorted(str(number) for number in range(1, 16))


def test_a_folder_whose_publisher_died_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.repository import Repository\n"
        "with Repository(Path(sys.argv[1])).staging('toy') as staged:\n"
        "    (staged / 'half').touch(); print(staged.name, flush=True); sys.stdin.read()"
    )
    living = python(code, str(tmp_path))
    dying = python(code, str(tmp_path))
    assert living.stdout is not None
    assert dying.stdout is not None
    kept, abandoned = living.stdout.readline().strip(), dying.stdout.readline().strip()
    try:
        dying.kill()
        dying.communicate(timeout=60)
        assert names(tmp_path / "toy") == sorted([kept, abandoned])
        (tmp_path / "toy" / ".staging-a-file").touch()
        assert factory.publish(tmp_path).manifest.version == 1
        assert names(tmp_path / "toy") == sorted([kept, ".staging-a-file", "1"])
    finally:
        living.communicate(timeout=60)  # closes its standard input, upon which it leaves in peace
    assert names(tmp_path / "toy") == [".staging-a-file", "1"]
