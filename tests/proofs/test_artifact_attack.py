"""The quick form of `make artifact-attack`: a tenth of its flips, every package; and that it notices what it should."""

from pathlib import Path

import pytest

from models import repository
from proofs import artifact_attack, crafted
from proofs.artifact_attack import Repositories, attack, flip_bits


def test_the_attack_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert artifact_attack.main(["--flips", "60", "--seed", "7"]) == 0
    shown = capsys.readouterr().out
    assert "60 bit flips (seed 7): " in shown
    assert "BROKEN" not in shown


def test_there_are_at_least_40_packages_each_under_a_name_of_its_own() -> None:
    names = [package.name for package in crafted.packages()]
    assert len(names) == len(set(names)) >= 40


def test_a_repository_that_believes_every_checksum_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repositories = Repositories(tmp_path)
    monkeypatch.setattr(repository, "_verify", lambda *_: None)
    _, wrong = flip_bits(repositories, 10, 0)
    assert any("calls of parsers" in problem for problem in wrong)


def test_a_repository_that_follows_links_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repositories = Repositories(tmp_path)
    monkeypatch.setattr(repository, "_plain_file", lambda folder, name: folder / name)
    package = next(package for package in crafted.packages() if package.name == "link: model.onnx")
    _, _, wrong = attack(repositories, package)
    assert "signatures required: opened" in wrong
