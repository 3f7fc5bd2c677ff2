"""The server's image, built and run for real, by `make docker-test`; it needs a Docker engine and a published `digits`."""

import json
from collections.abc import Iterator

import pytest

from models import spec
from proofs.containers import Container, ContainerError, added_bytes, build, docker, running
from proofs.images import BASE, BUDGET_BYTES, BUDGET_SECONDS, ready_seconds

pytestmark = pytest.mark.docker

#: Names and versions of what is installed, as JSON.
INSTALLED = "import importlib.metadata as m, json; print(json.dumps(sorted([d.name, d.version] for d in m.distributions())))"


@pytest.fixture(scope="module")
def container(serve_image: str) -> Iterator[Container]:
    """A running container, as one would deploy it."""
    with running(serve_image) as started:
        yield started.ready()


def right_labels(container: Container, *, samples: int = 20) -> int:
    """Return for how many of so many digits, sent as files, the container's answer is right."""
    digits = spec.find("digits")
    test = digits.datasets(None).test
    right = 0
    for index in range(samples):
        inputs, target = test[index]
        status, body = container.ask("/predict/digits", digits.content.input.write({"image": inputs["image"].numpy()[None]}))
        right += status == 200 and json.loads(body)["label"] == str(int(target))
    return right


def test_it_gives_the_right_label_for_a_png(container: Container) -> None:
    assert right_labels(container) >= 19


def test_it_runs_as_nobody_special(container: Container) -> None:
    assert container.run("id", "-u") == "10001"
    assert container.run("id", "-g") == "10001"


def test_it_holds_neither_torch_nor_pip_nor_a_compiler(container: Container) -> None:
    absent = ("torch", "pip", "setuptools", "lightning", "onnx", "cyclonedx_py")
    found = f"import importlib.util as u; print([name for name in {absent} if u.find_spec(name)])"
    assert container.run("python3", "-c", found) == "[]"
    programs = "import shutil; print([name for name in ('cc', 'gcc', 'g++', 'clang', 'make') if shutil.which(name)])"
    assert container.run("python3", "-c", programs) == "[]"


def test_nothing_in_it_can_be_written(container: Container) -> None:
    places = ("/", "/tmp", "/opt/sameway", "/models", "/models/digits", "/etc")
    attempt = f"""
for place in {places}:
    try:
        open(place + '/written', 'w')
    except OSError as error:
        print(error.errno)
"""
    assert container.run("python3", "-c", attempt).split() == ["30"] * len(places)  # EROFS


def test_the_engine_calls_it_healthy(container: Container) -> None:
    container.until(lambda: container.state()["Health"]["Status"] == "healthy", "healthy")
    assert json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", container.name)) == [
        "CMD", "python3", "-m", "serving.healthcheck"
    ]  # fmt: skip


def test_a_check_of_a_server_that_is_not_there_fails_and_says_why(container: Container) -> None:
    with pytest.raises(ContainerError, match="exit code 1"):
        docker("exec", "--env", "SAMEWAY_PORT=1", container.name, "python3", "-m", "serving.healthcheck")


def test_labels_say_what_it_is_made_of(serve_image: str, labels: dict[str, str]) -> None:
    found = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", serve_image))
    prefix = "org.opencontainers.image."
    assert {name: found[prefix + name.lower()] for name in labels} == labels
    assert found[prefix + "licenses"] == "Apache-2.0"
    assert found[prefix + "title"] == "sameway serve"
    assert found[prefix + "base.name"] == BASE
    assert docker("image", "inspect", "--format", "{{.Config.StopSignal}}", serve_image) == "SIGTERM"


def test_its_list_of_parts_is_what_is_installed(container: Container) -> None:
    parts = json.loads(container.run("cat", "/opt/sameway/sbom.cdx.json"))
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.6")
    listed = [parts["metadata"]["component"], *parts["components"]]
    installed = json.loads(container.run("python3", "-c", INSTALLED))
    assert sorted([part["name"], part["version"]] for part in listed) == installed
    assert ["sameway", parts["metadata"]["component"]["version"]] in installed
    assert all(part["purl"].startswith("pkg:pypi/") for part in parts["components"])


def test_it_adds_little_to_its_base(serve_image: str) -> None:
    assert 10_000_000 < added_bytes(serve_image, BASE) <= BUDGET_BYTES


def test_it_is_ready_soon(serve_image: str) -> None:
    """The fastest of a few starts counts: the others tell what else the machine does."""
    took: list[float] = []
    while not took or (min(took) > BUDGET_SECONDS and len(took) < 8):
        made = Container.create(serve_image)
        try:
            took.append(ready_seconds(made))
        finally:
            made.remove()
    assert min(took) <= BUDGET_SECONDS, took


def test_it_ends_with_code_0_when_told_to_stop_and_starts_again(container: Container) -> None:
    assert container.stop() == 0
    assert not container.is_ready()
    container.start()
    assert right_labels(container.ready(), samples=1) == 1


def test_models_that_are_named_and_not_there_fail_the_build() -> None:
    for wrong, said in (("serving", "expected published versions"), ("nowhere", "No such file or directory")):
        with pytest.raises(ContainerError, match=f"MODELS={wrong}.*{said}"):
            build("serve", "sameway:none", MODELS=wrong)


def test_an_accelerator_that_there_is_none_of_fails_the_build() -> None:
    with pytest.raises(ContainerError, match="ACCELERATOR: expected cpu or cuda, found 'tpu'"):
        build("serve", "sameway:none", ACCELERATOR="tpu")
