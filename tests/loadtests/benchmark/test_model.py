from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmark import model, session
from loadtests.benchmark.work import LARGE, SMALL
from models.repository import CONFIG, Repository


@pytest.mark.parametrize("name", [SMALL, LARGE])
def test_it_is_published_like_any_other_and_gives_probabilities(tmp_path: Path, name: str) -> None:
    published = model.publish(tmp_path, name)
    version = Repository(published.repository).open(session.MODEL, 1)
    found = session.run(session.open_session(version.path / "model.onnx"), session.images(3))
    assert found.shape == (3, session.CLASSES)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(found[:, 0])) == 3, "the answer must depend on the image"
    assert 0.001 < found.max() < 0.999, "saturated answers would hide a difference"
    np.testing.assert_array_equal(session.run(session.open_session(published.file), session.images(3)), found)


def test_a_shared_engine_has_an_instance_for_each_core(tmp_path: Path) -> None:
    published = model.publish(tmp_path, SMALL)
    assert (published.repository / session.MODEL / CONFIG).read_text().startswith("instances = 1\n")
    assert (published.shared / session.MODEL / CONFIG).read_text().startswith("instances = 2\n")
