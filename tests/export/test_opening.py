from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.exporter import ExportError
from export.opening import NotHere, opened
from tests import toys


@pytest.mark.parametrize("format", ["onnx", "torchscript", "exported_program"])
def test_an_artifact_answers_as_it_was_published(format: str, tmp_path: Path) -> None:
    version = toys.publish(tmp_path, formats=[format])
    images = toys.images(5)
    found = opened(version, version.manifest.artifacts[0])({"image": images})
    np.testing.assert_allclose(found["probabilities"], toys.reference(images)["probabilities"], rtol=1e-4, atol=1e-6)


def test_a_format_that_nobody_here_knows_is_not_here(tmp_path: Path) -> None:
    version = toys.publish(tmp_path, formats=["torchscript"])
    later = replace(version.manifest.artifacts[0], format="of_later")
    with pytest.raises(NotHere, match=r"format: expected one of onnx, .*, found 'of_later'"):
        opened(version, later)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    version = toys.publish(tmp_path)
    (version.path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"model\.onnx: ONNX Runtime cannot open it"):
        opened(version, version.manifest.artifacts[0])
