from pathlib import Path

import numpy as np
import pytest

from export import eager, golden, reference
from export.exporter import ExportError
from models.repository import sha256_of
from models.tensors import TensorSpec
from tests.export import modules


def test_it_holds_real_inputs_and_what_the_eager_model_answers(tmp_path: Path) -> None:
    source = modules.classifier()
    written = golden.write(source, reference.measure(source), tmp_path)
    assert (written.file, written.rows) == ("golden.npz", 8)
    assert written.sha256 == sha256_of(tmp_path / "golden.npz")
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["input:image", "output:class", "output:probabilities"]
        np.testing.assert_array_equal(arrays["input:image"], source.samples["image"][:8])
        expected = eager.in_float32(source, {"image": arrays["input:image"]}, batch_size=8).outputs
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[f"output:{name}"], array)
            assert arrays[f"output:{name}"].dtype == array.dtype


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    source = modules.classifier()
    measured = reference.measure(source)
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    assert len({golden.write(source, measured, folder).sha256 for folder in folders}) == 1


def test_rows_that_rounding_decides_are_left_out(tmp_path: Path) -> None:
    scores = np.tile(np.array([1.0, 3.0, 2.0], np.float32), (40, 1))
    scores[:, 0] += np.arange(40) / 100
    scores[2, 2] = np.nextafter(np.float32(3), np.float32(2))
    source = modules.of(lambda x: (x.argmax(1),), TensorSpec("label", "INT64", ()), samples=scores)
    golden.write(source, reference.measure(source), tmp_path)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["input:x"], scores[[0, 1, 3, 4, 5, 6, 7, 8]])


def test_few_samples_make_a_small_one(tmp_path: Path) -> None:
    source = modules.classifier(rows=3)
    assert golden.write(source, reference.measure(source), tmp_path).rows == 3


def test_no_decided_row_is_an_error(tmp_path: Path) -> None:
    source = modules.of(lambda x: (x.argmax(1),), TensorSpec("label", "INT64", ()), samples=np.ones((10, 3), np.float32))
    with pytest.raises(ExportError, match="golden sample: every sample has a decision that rounding could turn"):
        golden.write(source, reference.measure(source), tmp_path)
    assert list(tmp_path.iterdir()) == []
