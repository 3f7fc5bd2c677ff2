from pathlib import Path

import pytest

from models.repository import Repository, RepositoryError
from serving.backends.base import BackendError
from serving.engine.servable import Servable
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import ModelConfig
from tests import toys


@pytest.mark.parametrize("format", toys.FILES)
def test_a_file_that_is_exchanged_between_its_check_and_its_opening_is_not_opened(tmp_path: Path, format: str) -> None:
    honest = toys.publish(tmp_path, seed=0, formats=(format,))
    other = toys.publish(tmp_path, seed=1, formats=(format,))
    servable = Servable.published(Repository(tmp_path).open("toy", 1))
    file = toys.FILES[format]
    (honest.path / file).write_bytes((other.path / file).read_bytes())
    with pytest.raises((BackendError, RepositoryError), match="altered since it was checked"):
        ServedVersion.open(servable, ModelConfig(format=format), Metrics())


def test_what_a_published_version_is_made_of(toy_repository: Path) -> None:
    version = Repository(toy_repository).open("toy", 1)
    servable = Servable.published(version)
    assert (servable.model, servable.version, servable.digest, servable.verified) == ("toy", 1, version.digest, True)
    assert (servable.batching, servable.remark) == ("manifest", "")
    artifact = servable.artifacts["onnx"].file
    assert (artifact.name, str(artifact)) == ("model.onnx", str(version.path / "model.onnx"))
    assert artifact.read_bytes() == (version.path / "model.onnx").read_bytes()
