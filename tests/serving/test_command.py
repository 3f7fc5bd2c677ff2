"""What `sameway serve` does before it serves. How it serves is in tests/serving/frontends/."""

import argparse
import os
import socket
import sys
from pathlib import Path

import pytest

import cli
from serving import command, keys
from serving.settings import OPTIONAL, Settings
from tests.serving import credentials


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SAMEWAY_{name.upper()}", raising=False)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line on standard error; nothing is on standard output."""
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("\n")
    assert shown.err.count("\n") == 1
    return shown.err.strip()


def test_a_missing_repository_ends_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--repository", str(tmp_path / "nowhere")]) == 2
    assert complaint(capsys) == f"sameway serve: model repository {tmp_path}/nowhere: No such file or directory"


def test_a_repository_that_is_a_file_ends_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["serve", "--repository", str(tmp_path / "file")]) == 2
    assert "Not a directory" in complaint(capsys)


def test_an_unknown_model_ends_with_2_and_names_those_there_are(
    toy_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--repository", str(toy_repository), "--models", "toy,bird"]) == 2
    assert complaint(capsys) == "sameway serve: models: expected some of toy, found 'bird'"


def test_without_ray_it_says_what_to_install_and_ends_with_2(
    toy_repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # Ray's settings are put there
    monkeypatch.delitem(sys.modules, "serving.engine.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["serve", "--repository", str(toy_repository), "--engine", "ray"]) == 2
    assert complaint(capsys) == "sameway serve: engine 'ray' needs the package 'ray': pip install 'sameway[ray]'"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SAMEWAY_PORT", "http", "port: "),
        ("SAMEWAY_PORT", "70000", "port: "),
        ("SAMEWAY_LOG_LEVEL", "loud", "log_level: "),
        ("SAMEWAY_DRAIN_SECONDS", "-1", "drain_seconds: "),
    ],
)
def test_a_bad_value_in_the_environment_ends_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert cli.main(["serve"]) == 2
    line = complaint(capsys)
    assert line.startswith(f"sameway serve: {words}")
    assert repr(value) in line


def test_a_bad_flag_ends_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "-5"]) == 2
    assert "found '-5'" in complaint(capsys)


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_empty_flag_ends_with_2_where_an_empty_variable_is_none(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main(["serve", f"--{name.replace('_', '-')}", ""]) == 2
    assert complaint(capsys).startswith(f"sameway serve: {name}: expected a value, found an empty flag")


def test_a_port_in_use_ends_with_1_and_one_line(toy_repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--repository", str(toy_repository), "--port", str(port)]) == 1
    assert complaint(capsys).startswith(f"sameway serve: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_an_address_that_is_not_this_machine_s_ends_with_1_and_one_line(
    toy_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = "203.0.113.1"  # kept for documentation by RFC 5737: nobody's
    assert cli.main(["serve", "--repository", str(toy_repository), "--host", host, "--port", "0"]) == 1
    assert complaint(capsys).startswith(f"sameway serve: cannot listen on {host}:0: ")


def test_every_setting_has_a_flag_and_an_absent_flag_hides_no_variable() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert vars(parser.parse_args([])) == {}
    words = []
    for name, field in Settings.model_fields.items():
        words += [f"--{name.replace('_', '-')}", *([] if field.annotation is bool else ["1"])]
    assert vars(parser.parse_args(words)).keys() == Settings.model_fields.keys()


def key_file(folder: Path, *names: str) -> str:
    tables = [keys.table_of(name, credentials.text_of(name), credentials.SCOPES[name], None) for name in names]
    path = folder / "keys.toml"
    path.write_text("".join(tables))
    return str(path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "8_000"], "sameway serve: port: expected a port number in digits alone, found '8_000'"),
        (["--management", "--host", "0.0.0.0"], "management without keys needs a loopback address"),
        (["--management-port", "0"], "management_port needs management, or keys"),
        (["--management-port", "0", "--keys", "{keys}"], "expected a key with the scope manage"),
        (["--management", "--keys", "{keys}"], "expected a key with the scope manage"),
        (["--keys", "/nowhere/keys.toml"], "/nowhere/keys.toml: No such file or directory"),
        (["--require-signed"], "require_signed needs trusted_keys"),
        (["--trusted-keys", "{keys}"], "expected one or more Ed25519 public keys"),
    ],
)
def test_settings_that_would_leave_a_door_open_or_shut_for_all_end_with_2(
    toy_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    path = key_file(tmp_path, "predict", "observe")
    given = [flag.replace("{keys}", path) for flag in flags]
    assert cli.main(["serve", "--repository", str(toy_repository), *given]) == 2
    assert words in complaint(capsys)


def test_a_management_port_in_use_ends_with_1_and_leaves_no_listener(
    toy_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--port", "0", "--keys", key_file(tmp_path, "manage"), "--management-port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--repository", str(toy_repository), *flags, port]) == 1
    assert complaint(capsys).startswith(f"sameway serve: cannot listen on 127.0.0.1:{port}: Address already in use")
