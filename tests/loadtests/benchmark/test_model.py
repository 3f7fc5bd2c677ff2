from pathlib import Path

import numpy as np

from loadtests.benchmark import model
from models.repository import Repository


def test_it_is_published_like_any_other_and_gives_probabilities(tmp_path: Path) -> None:
    file = model.publish(tmp_path)
    version = Repository(tmp_path).open(model.MODEL, 1)
    assert file == version.path / "model.onnx"
    (found,) = model.open_session(file).run([model.OUTPUT], {model.INPUT: model.images(3)})
    assert found.shape == (3, model.CLASSES)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(found[:, 0])) == 3, "the answer must depend on the image"
    assert 0.001 < found.max() < 0.999, "saturated answers would hide a difference"
