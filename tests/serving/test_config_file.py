"""Whatever lies where a configuration should: it is told, nobody waits for it, and nobody reads it without end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import config_file, model_config, triton_config
from serving.config_file import LARGEST_BYTES, ConfigError


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert config_file.read(tmp_path / "config.toml") is None


def test_the_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"#" * LARGEST_BYTES)
    assert config_file.read(tmp_path / "config.toml") == b"#" * LARGEST_BYTES


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _link, _listener])
@pytest.mark.parametrize("name", ["config.toml", "config.pbtxt"])
def test_what_is_no_plain_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has a hundred characters at most
    make(Path(name))
    with pytest.raises(ConfigError, match=f"{name}: expected a regular file"):
        model_config.read(Path(name)) if name == "config.toml" else triton_config.read(Path(name), "toy")


@pytest.mark.parametrize("name", ["config.toml", "config.pbtxt"])
def test_what_is_too_large_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"#" * (LARGEST_BYTES + 1))
    with pytest.raises(ConfigError, match="expected at most 1,048,576 bytes"):
        model_config.read(tmp_path / name) if name == "config.toml" else triton_config.read(tmp_path / name, "toy")
