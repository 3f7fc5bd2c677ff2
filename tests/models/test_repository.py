import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.content import LabelContent
from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from tests.models import factory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return factory.publish(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Start another process of this project."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_version_is_what_was_published(tmp_path: Path, version: ModelVersion) -> None:
    assert version.path == tmp_path / "toy" / "1"
    assert version.manifest.version == 1
    assert version.digest == sha256_of(version.path / "manifest.json")
    assert names(version.path) == ["golden.npz", "manifest.json", "model.onnx"]
    assert version.artifact_path(version.manifest.artifacts[0]).read_bytes() == factory.WEIGHTS
    assert Repository(tmp_path).open("toy", 1) == version


def test_another_user_may_read_a_version(version: ModelVersion) -> None:
    assert version.path.stat().st_mode & 0o777 == 0o755


def test_another_user_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        version = factory.publish(tmp_path / "models")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in version.path.iterdir()} == {0o644}
    folders = (version.path, tmp_path / "models" / "toy", tmp_path / "models")
    assert [path.stat().st_mode & 0o777 for path in folders] == [0o755] * 3


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir(0o700)
    factory.publish(tmp_path)
    assert (tmp_path / "toy").stat().st_mode & 0o777 == 0o700


def test_the_golden_sample_is_read_by_name(version: ModelVersion) -> None:
    inputs, outputs = version.golden()
    assert inputs["image"].shape == (2, 4, 4)
    assert list(outputs) == ["scores", "class"]


def test_versions_count_up_and_are_never_reused_while_a_later_one_is_there(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        assert factory.publish(tmp_path).manifest.version == expected
    for path in (tmp_path / "toy" / "2").iterdir():
        path.unlink()
    (tmp_path / "toy" / "2").rmdir()
    assert factory.publish(tmp_path).manifest.version == 4
    assert Repository(tmp_path).versions("toy") == [1, 3, 4]


def test_versions_are_in_order_of_number(tmp_path: Path) -> None:
    for name in ("10", "9", "0", "01", "-1", "1a", ".staging-x"):
        (tmp_path / "toy" / name).mkdir(parents=True)
    (tmp_path / "toy" / "11").write_text("a file")
    assert Repository(tmp_path).versions("toy") == [9, 10]


def test_models_are_folders_with_a_version_or_a_configuration(tmp_path: Path) -> None:
    factory.publish(tmp_path, "beta")
    factory.publish(tmp_path, "alpha")
    (tmp_path / "configured").mkdir()
    (tmp_path / "configured" / "config.toml").touch()
    (tmp_path / "sources").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    (tmp_path / "a file").touch()
    assert Repository(tmp_path).models() == ["alpha", "beta", "configured"]
    assert Repository(tmp_path).versions("unknown") == []


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"model repository .*absent: No such file"):
        Repository(tmp_path / "absent").models()


@pytest.mark.parametrize("name", ["", ".", "..", "../toy", "a/b", ".hidden", "a b", "ä", "a" * 129, "a\n"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    repository = Repository(tmp_path)
    with pytest.raises(RepositoryError, match="model name"):
        repository.open(name, 1)
    with pytest.raises(RepositoryError, match="model name"), repository.staging(name):
        pass


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def missing(path: Path) -> None:
    path.unlink()


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (altered, "expected sha256 .*: altered"),
        (truncated, "expected .* bytes, found"),
        (missing, "No such file"),
        (linked, "expected a regular file"),
        (folder, "expected a regular file"),
        (pipe, "expected a regular file"),
    ],
)
def test_a_damaged_file_is_named(version: ModelVersion, file: str, damage: Callable[[Path], None], message: str) -> None:
    damage(version.path / file)
    with pytest.raises(RepositoryError, match=f"{file}: {message}"):
        Repository(version.path.parents[1]).open("toy", 1)


@pytest.mark.parametrize("damage", [truncated, missing, linked, folder, pipe])
def test_a_damaged_manifest_is_named(version: ModelVersion, damage: Callable[[Path], None]) -> None:
    path = version.path / "manifest.json"
    damage(path)
    if damage is truncated:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RepositoryError, match=r"manifest\.json"):
        Repository(version.path.parents[1]).open("toy", 1)


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "sub/model.onnx", "", ".."])
def test_a_path_in_place_of_a_file_name_is_refused(version: ModelVersion, file: str) -> None:
    (version.path.parent / "secret").write_bytes(factory.WEIGHTS)
    path = version.path / "manifest.json"
    facts = json.loads(path.read_bytes())
    facts["artifacts"][0]["file"] = file
    path.write_text(json.dumps(facts))
    with pytest.raises(RepositoryError, match="expected a plain file name"):
        Repository(version.path.parents[1]).open("toy", 1)


def test_a_version_in_another_folder_is_refused(tmp_path: Path, version: ModelVersion) -> None:
    version.path.rename(tmp_path / "toy" / "2")
    with pytest.raises(RepositoryError, match=r"toy/2: manifest\.json: expected this model and version, found toy/1"):
        Repository(tmp_path).open("toy", 2)
    (tmp_path / "toy").rename(tmp_path / "other")
    with pytest.raises(RepositoryError, match="found toy/1"):
        Repository(tmp_path).open("other", 2)


def test_a_golden_sample_of_another_model_is_refused(version: ModelVersion) -> None:
    path = version.path / "golden.npz"
    for content in (b"", b"junk", b"PK\x03\x04 junk", factory.golden_sample()[:200]):
        path.write_bytes(content)
        with pytest.raises(RepositoryError, match=r"golden\.npz: not a golden sample"):
            version.golden()
    named = {"input:image": np.zeros(1)}
    np.savez(path, **named)  # type: ignore[arg-type]  # numpy types the names of its own options only
    with pytest.raises(RepositoryError, match="output:scores"):
        version.golden()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RepositoryError, match="not a golden sample"):
        version.golden()
    pickled = {"input:image": np.array([object()])}
    np.savez(path, **pickled)  # type: ignore[arg-type]
    with pytest.raises(RepositoryError, match="not a golden sample"):
        version.golden()


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


def test_a_folder_that_may_not_be_read_is_a_model_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not hold for root, as whom tests may run; tests/deploy tries them as another user.
    factory.publish(tmp_path, "closed")
    factory.publish(tmp_path, "open")
    iterdir, stat = Path.iterdir, Path.stat

    def refused(path: Path) -> bool:
        return path.is_relative_to(tmp_path / "closed") and path != tmp_path / "closed"

    def list_of(path: Path) -> Iterator[Path]:
        if path == tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return iterdir(path)

    def stat_of(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if refused(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "iterdir", list_of)
    monkeypatch.setattr(Path, "stat", stat_of)
    assert Repository(tmp_path).models() == ["closed", "open"]
    assert Repository(tmp_path).versions("open") == [1]
    with pytest.raises(RepositoryError, match="closed: Permission denied"):
        Repository(tmp_path).versions("closed")


def test_a_folder_with_triton_s_configuration_is_a_model(tmp_path: Path) -> None:
    for name, file in (("ours", "config.toml"), ("triton", "config.pbtxt"), ("notes", "readme.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert Repository(tmp_path).models() == ["ours", "triton"]


def test_the_files_of_a_version_are_all_that_lies_there_whatever_it_is(version: ModelVersion, tmp_path: Path) -> None:
    (version.path / "link").symlink_to("nowhere")
    assert Repository(tmp_path).files("toy", 1) == {"golden.npz", "manifest.json", "model.onnx", "link"}
    with pytest.raises(RepositoryError, match="toy/2: No such file or directory"):
        Repository(tmp_path).files("toy", 2)


def test_a_plain_file_is_read_as_it_is(version: ModelVersion, tmp_path: Path) -> None:
    assert Repository(tmp_path).read("toy", 1, "model.onnx") == factory.WEIGHTS


@pytest.mark.parametrize("name", ["", ".", "..", "../1/model.onnx", "/etc/passwd", "a/b", "a\0b", "a\nb", "x" * 200])
def test_what_is_no_plain_name_is_not_read(version: ModelVersion, tmp_path: Path, name: str) -> None:
    with pytest.raises(RepositoryError, match="toy/1: expected a plain file name") as error:
        Repository(tmp_path).read("toy", 1, name)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("golden.npz"), "expected a regular file"),
        (lambda path: path.symlink_to("nowhere"), "expected a regular file"),
        (lambda path: path.mkdir(), "expected a regular file"),
        (os.mkfifo, "expected a regular file"),
        (lambda path: None, "No such file or directory"),
    ],
    ids=["a link", "a dangling link", "a folder", "a pipe", "nothing"],
)
def test_what_is_no_regular_file_is_not_read_and_nobody_waits_for_it(
    version: ModelVersion, tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(version.path / "odd")
    with pytest.raises(RepositoryError) as error:
        Repository(tmp_path).read("toy", 1, "odd")
    assert str(error.value) == f"toy/1: odd: {why}"
