import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.repository import ModelVersion, Repository, RepositoryError, sha256_of
from tests.models import factory
from tests.models.folders import altered, names


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    return factory.publish(tmp_path)


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
