from pathlib import Path

import numpy as np
import pytest
import torch

from models.novelty import SPEC, baseline, data
from models.tensors import Array
from training import checkpoint
from training.origin import origin_of


@pytest.fixture(scope="module")
def vectors() -> Array:
    return baseline.vectors(torch.from_numpy(data.samples(200)["image"]))


def test_pca_is_a_singular_value_decomposition(vectors: Array) -> None:
    """The error of a reconstruction is what lies outside the first rows of Vᵀ; nothing of scikit-learn is in this."""
    mean = vectors[:150].mean(axis=0)
    components = np.linalg.svd(vectors[:150] - mean, full_matrices=False)[2]
    centred = vectors[150:] - mean
    outside = centred - centred @ components[:20].T @ components[:20]
    assert np.allclose(baseline.pca(vectors[:150], 20)(vectors[150:]), np.square(outside).sum(axis=1))


def test_the_variance_explained_is_what_a_reconstruction_keeps(vectors: Array) -> None:
    shares = baseline.explained(vectors)
    total = np.square(vectors - vectors.mean(axis=0)).sum()
    for components in (1, 10, 100):
        lost = baseline.pca(vectors, components)(vectors).sum()
        assert shares[components - 1] == pytest.approx(1 - lost / total)
    assert shares[-1] == pytest.approx(1)


def test_k_means_measures_the_squared_distance_to_the_nearest_centre(vectors: Array) -> None:
    assert np.allclose(baseline.k_means(vectors, len(vectors))(vectors), 0, atol=1e-6)
    one = baseline.k_means(vectors, 1)(vectors)
    assert np.allclose(one, np.square(vectors - vectors.mean(axis=0)).sum(axis=1))


def test_purity_is_the_share_of_the_commonest_label() -> None:
    blobs = np.concatenate([np.zeros((4, 2)), np.full((6, 2), 9.0)])
    assert baseline.purity(blobs, np.array([1, 1, 1, 2, 3, 3, 3, 3, 4, 4]), 2) == pytest.approx(0.7)


def test_two_measures_are_compared_on_the_same_draws() -> None:
    foreign = np.repeat([0, 1], 200)
    good = foreign * 2 + np.random.default_rng(0).normal(size=400)
    poor = foreign * 0.5 + np.random.default_rng(1).normal(size=400)
    lead = baseline.area([good, poor], foreign)
    assert lead.value == pytest.approx(baseline.area([good], foreign).value - baseline.area([poor], foreign).value)
    assert 0 < lead.low < lead.value < lead.high
    nothing = baseline.area([good, good], foreign)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_program_tells_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = SPEC.build()
    saved = checkpoint.save(network, origin_of(SPEC.name, SPEC.recipe, seed=0, data="d" * 64, scores={}), tmp_path / "one")
    monkeypatch.setattr(baseline, "COMPONENTS", (10,))
    monkeypatch.setattr(baseline, "CLUSTERS", (2,))
    assert baseline.main([str(saved.path), "--resamples", "10"]) == 0
    shown = capsys.readouterr().out
    assert "90% of the variance is in the first 84 of 784 components" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("| PCA 10 |")]
    assert float(row.split("|")[-3].split()[0]) == pytest.approx(0.878, abs=0.002)


def test_without_a_checkpoint_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main([str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"baseline: {tmp_path}/checkpoint.json: not a checkpoint")
    assert shown.err.count("\n") == 1


def test_no_draws_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline.main(["--resamples", "0"]) == 2
    assert capsys.readouterr().err == "baseline: resamples: expected 1 or more, found 0\n"
