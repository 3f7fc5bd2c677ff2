"""The images of the Dockerfile, each built once, for the tests that are marked `docker`."""

import os
import tomllib

import pytest

from proofs.containers import build
from tests.deploy.tools import ROOT

#: What a build is told of the sources; tests look for it in the labels.
LABELS = {
    "VERSION": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
    "REVISION": "0123456789abcdef0123456789abcdef01234567-dirty",
    "CREATED": "2026-01-01T00:00:00+00:00",
    "SOURCE": "https://example.com/sameway",
}


@pytest.fixture(scope="session")
def labels() -> dict[str, str]:
    return LABELS


@pytest.fixture(scope="session")
def serve_image(labels: dict[str, str]) -> str:
    """With the versions published under models/, of which `digits` must be one: `make demo` publishes it."""
    return build("serve", "sameway:serve-test", MODELS="models", **labels)


@pytest.fixture(scope="session")
def serve_torch_image(labels: dict[str, str]) -> str:
    return build("serve-torch", "sameway:serve-torch-test", MODELS="models", **_torch(), **labels)


@pytest.fixture(scope="session")
def train_image(labels: dict[str, str]) -> str:
    return build("train", "sameway:train-test", **_torch(), **labels)


def _torch() -> dict[str, str]:
    return {"TORCH_INDEX": os.environ.get("TORCH_INDEX", "")}
