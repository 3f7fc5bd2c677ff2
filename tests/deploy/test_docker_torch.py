"""The images with torch, built and run for real, by `make docker-test-all`: a model from its data to a load test.

They are built of some gigabytes, so these tests are marked `long` too.
"""

import json
import uuid
from collections.abc import Iterator

import pytest

from models import spec
from proofs.containers import Container, docker, ended, layers, running
from proofs.images import BASE
from tests.deploy.test_docker import INSTALLED

pytestmark = [pytest.mark.docker, pytest.mark.long]

#: Training on a busy machine.
PATIENCE = 600.0
FORMATS = ("onnx", "torchscript", "exported_program")


@pytest.fixture(scope="module")
def volumes() -> Iterator[dict[str, str]]:
    """Folder of the train image → a volume of its own, gone afterwards."""
    made = {f"/data/{name}": f"sameway-test-{name}-{uuid.uuid4().hex[:8]}" for name in ("checkpoints", "models")}
    yield made
    for name in made.values():
        docker("volume", "rm", "--force", name)


def sameway(image: str, volumes: dict[str, str], *words: str) -> tuple[int, str]:
    """Run `sameway` in the train image, as one would: read-only, but for its volumes."""
    mounted = [word for folder, name in volumes.items() for word in ("--volume", f"{name}:{folder}")]
    return ended(image, *mounted, words=words, seconds=PATIENCE)


@pytest.fixture(scope="module")
def published(train_image: str, volumes: dict[str, str]) -> str:
    """Train a model for one epoch, export it in every format, and return the volume that holds it."""
    code, log = sameway(train_image, volumes, "train", "digits", "--epochs", "1")
    assert code == 0, log
    code, log = sameway(train_image, volumes, "export", "digits", "--formats", ",".join(FORMATS))
    assert code == 0, log
    assert "published digits/1 sha256:" in log
    return volumes["/data/models"]


def _right(container: Container) -> int:
    digits = spec.find("digits")
    test = digits.datasets(None).test
    right = 0
    for index in range(20):
        inputs, target = test[index]
        status, body = container.ask("/predict/digits", digits.content.input.write({"image": inputs["image"].numpy()[None]}))
        right += status == 200 and json.loads(body)["label"] == str(int(target))
    return right


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_trained_in_one_image_is_served_in_another(
    train_image: str, serve_torch_image: str, volumes: dict[str, str], published: str, format: str
) -> None:
    configure = f"printf 'format = \"{format}\"\\n' >/data/models/digits/config.toml"
    mounted = ("--volume", f"{published}:/data/models", "--entrypoint", "sh")
    assert ended(train_image, *mounted, words=("-c", configure)) == (0, "")
    with running(serve_torch_image, "--volume", f"{published}:/models:ro") as container:
        container.ready()
        assert _right(container) >= 17  # after one epoch
        code, log = sameway(
            train_image, volumes, "loadtest", container.url, "--model", "digits", "--users", "4", "--duration", "3"
        )
        assert code == 0, log
        loaded = container.run("grep", "-c", "libtorch_cpu", "/proc/1/maps") if format != "onnx" else "none"
        assert loaded != "0"
        assert container.stop() == 0


def test_serving_onnx_needs_no_torch_and_no_other_image(serve_image: str, published: str) -> None:
    configured = ("--volume", f"{published}:/models:ro")
    with running(serve_image, *configured, environment={"SAMEWAY_MODELS": "digits"}) as container:
        container.until(lambda: "event=loaded" in container.log(), "loaded")
        # Configured for a format that this image cannot open it says so, and goes on.
        container.until(lambda: "event=listening" in container.log(), "listening")
        assert container.stop() == 0


def test_a_report_with_plots_needs_no_more_than_its_volumes(
    train_image: str, volumes: dict[str, str], published: str
) -> None:
    """Matplotlib and its fonts keep caches; /tmp is a volume of its own."""
    code, log = sameway(train_image, volumes, "evaluate", "digits", "--report", "runs/evaluation")
    assert code == 0, log
    assert "Traceback" not in log


def test_a_place_that_cannot_be_written_is_named(train_image: str) -> None:
    code, log = ended(train_image, "--user", "12345", words=("train", "digits", "--epochs", "1"), seconds=PATIENCE)
    assert (code, log) == (1, "sameway train: checkpoints/digits: cannot write here: Permission denied\n")


def test_sigterm_ends_training_and_leaves_what_can_be_resumed(train_image: str, volumes: dict[str, str]) -> None:
    mounted = [word for folder, name in volumes.items() for word in ("--volume", f"{name}:{folder}")]
    with running(train_image, *mounted, words=("train", "digits", "--epochs", "500")) as container:
        container.until(lambda: " 2/500" in container.log(), "training", seconds=PATIENCE)
        assert container.stop() == 143
        assert "Traceback" not in container.log()


@pytest.mark.parametrize("target", ["serve_torch_image", "train_image"])
def test_its_list_of_parts_is_what_is_installed(request: pytest.FixtureRequest, target: str) -> None:
    image = request.getfixturevalue(target)
    code, log = ended(image, "--entrypoint", "python3", words=("-c", INSTALLED))
    assert code == 0, log
    code, text = ended(image, "--entrypoint", "cat", words=("/opt/sameway/sbom.cdx.json",))
    parts = json.loads(text)
    listed = [parts["metadata"]["component"], *parts["components"]]
    assert sorted([part["name"], part["version"]] for part in listed) == json.loads(log)
    assert any(part["name"] == "torch" for part in listed)
    assert not any(part["name"] == "pip" or part["name"].startswith("nvidia-c") for part in listed)


def test_images_share_what_they_have_in_common(serve_image: str, serve_torch_image: str, train_image: str) -> None:
    base, serve, torch, train = (layers(image) for image in (BASE, serve_image, serve_torch_image, train_image))
    # The user and the server's dependencies; then torch.
    common = len(base) + 2
    assert serve[:common] == torch[:common] == train[:common]
    assert serve[: len(base)] == base
    assert torch[: common + 1] == train[: common + 1]
    assert set(serve[common:]).isdisjoint(train[: common + 1])
