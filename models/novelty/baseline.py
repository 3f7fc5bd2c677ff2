"""PCA and k-means: what they find in digits, and how well they tell foreign images: `python -m models.novelty.baseline`.

Both learn of the training split alone, as the network does; all are asked about the same test images. The baselines are
given every advantage: each comes in several sizes, as it is and per ink as the network's novelty is, and of each the size
that does best on the test itself is what the network is compared with.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.digits import data as digits
from models.novelty import SPEC, data
from models.novelty.model import LEAST_INK
from models.spec import DataError
from models.tensors import Array
from training import bootstrap, checkpoint
from training.checkpoint import CheckpointError
from training.scores import Score, auroc

#: Dimensions that PCA keeps, and clusters that k-means looks for; 3,500 make of it a search for the nearest neighbour.
COMPONENTS = (2, 5, 10, 20, 40, 80, 160)
CLUSTERS = (10, 30, 100, 300, 1000, 3500)

#: From images as vectors, FLOAT64 [n, 784], to how novel each is, [n].
Measure = Callable[[Array], Array]


def pca(train: Array, components: int) -> Measure:
    """Return the squared error of an image rebuilt from its first principal components, summed over pixels."""
    from sklearn.decomposition import PCA

    fitted = PCA(components, svd_solver="full").fit(train)

    def error(images: Array) -> Array:
        rebuilt = fitted.inverse_transform(fitted.transform(images))
        return np.asarray(np.square(images - rebuilt).sum(axis=1))

    return error


def k_means(train: Array, clusters: int) -> Measure:
    """Return an image's squared distance to the nearest of so many centres, each the mean of a cluster."""
    from sklearn.cluster import KMeans

    fitted = KMeans(clusters, n_init=1, random_state=0).fit(train)
    return lambda images: np.asarray(np.square(fitted.transform(images).min(axis=1)))


def explained(train: Array) -> Array:
    """Return the share of variance that the first k principal components hold, [784], k from 1.

    PCA is a singular value decomposition: centred images are U·S·Vᵀ, the rows of Vᵀ the components, S² their variances.
    """
    squares = np.square(np.linalg.svd(train - train.mean(axis=0), compute_uv=False))
    return np.asarray(squares.cumsum() / squares.sum())


def purity(vectors: Array, labels: Array, clusters: int) -> float:
    """Return the share of samples whose label is the commonest of their cluster; k-means never sees a label."""
    from sklearn.cluster import KMeans

    found = KMeans(clusters, n_init=5, random_state=0).fit_predict(vectors)
    return sum(int(np.bincount(labels[found == cluster]).max()) for cluster in range(clusters)) / len(labels)


def per_ink(novelty: Array, images: Array) -> Array:
    """Return a measure divided by the ink of its image, as the network's is: [n], of [n] and vectors [n, 784]."""
    return np.asarray(novelty / (images.sum(axis=1) + LEAST_INK))


def vectors(images: Tensor) -> Array:
    """Return UINT8 images [n, 28, 28] as vectors, FLOAT64 [n, 784] from 0 to 1."""
    return np.asarray(images.numpy().reshape(len(images), -1) / 255.0)


def standard(data_dir: Path | None = None) -> tuple[str, Array]:
    """Return PCA's name and reconstruction error on the test split, [n], of the size that does best on it, per ink."""
    splits = SPEC.datasets(data_dir)
    if not isinstance(splits.train, data.Images) or not isinstance(splits.test, data.Images):
        raise TypeError("splits: expected Images")
    train, asked, foreign = vectors(splits.train.images), vectors(splits.test.images), splits.test.targets.numpy()
    found = {f"PCA, {size}, per ink": per_ink(pca(train, size)(asked), asked) for size in COMPONENTS}
    best = max(found, key=lambda name: auroc(found[name], foreign))
    return best, found[best]


def judged(network: nn.Module, images: Tensor) -> tuple[Array, Array]:
    """Return novelty, [n], and embedding, [n, k], from the very module that is exported."""
    serving = SPEC.serving_module(network)
    with torch.inference_mode():
        parts = [serving(part) for part in torch.split(images, 256)]
    return torch.cat([part[0] for part in parts]).numpy(), torch.cat([part[1] for part in parts]).numpy()


def area(novelties: Sequence[Array], foreign: Array, *, resamples: int = bootstrap.RESAMPLES) -> Score:
    """Return a measure's area under the ROC curve, or, of two, by how much the first's is larger; with its interval.

    Two are compared on the same draws of samples (see training/bootstrap.py); `foreign` is 1 or 0, INT64 [n].
    """

    def statistic(rows: Array) -> float:
        found = [auroc(novelty[rows], foreign[rows]) for novelty in novelties]
        return found[0] - sum(found[1:])

    low, high = bootstrap.interval(statistic, len(foreign), strata=foreign, resamples=resamples)
    return Score(statistic(np.arange(len(foreign))), low, high, len(foreign))


def compared(
    novelties: Mapping[str, Array], kinds: Sequence[str], *, resamples: int = bootstrap.RESAMPLES
) -> dict[str, dict[str, Score]]:
    """Return each measure's area against every kind of foreign image, and against "all" of them.

    Each but the first has a "lead" besides: by how much the first's area against all is larger.
    """
    kind_of = np.array(kinds)
    foreign = (kind_of != "digits").astype(np.int64)
    first = next(iter(novelties.values()))
    table: dict[str, dict[str, Score]] = {}
    for name, novelty in novelties.items():
        among = {kind: np.isin(kind_of, ("digits", kind)) for kind in data.FOREIGN}
        table[name] = {kind: area([novelty[rows]], foreign[rows], resamples=resamples) for kind, rows in among.items()}
        table[name]["all"] = area([novelty], foreign, resamples=resamples)
        if novelty is not first:
            table[name]["lead"] = area([first, novelty], foreign, resamples=resamples)
    return table


def lesson(network: nn.Module) -> Iterator[str]:
    """Yield lines that tell what is found in digits without a label: few dimensions, and clusters."""
    given = digits.datasets()
    if not isinstance(given.train, digits.Digits) or not isinstance(given.test, digits.Digits):
        raise TypeError("splits: expected Digits")
    shares = explained(vectors(given.train.images))
    for share in (0.5, 0.8, 0.9, 0.95):
        yield f"{share:.0%} of the variance is in the first {int(np.searchsorted(shares, share)) + 1} of 784 components"
    labels, embedding = given.test.labels.numpy(), judged(network, given.test.images)[1]
    for clusters in (10, 30):
        of_pixels, of_codes = (purity(found, labels, clusters) for found in (vectors(given.test.images), embedding))
        yield f"{clusters} clusters, share of the commonest digit: {of_pixels:.1%} of pixels, {of_codes:.1%} of embeddings"


def comparison(network: nn.Module, train: data.Images, test: data.Images, *, resamples: int) -> Iterator[str]:
    """Yield the lines of a table, network and baselines against each kind of foreign image, then every size's area."""
    learnt_of, asked = vectors(train.images), vectors(test.images)
    foreign = test.targets.numpy()
    shown = {"network": judged(network, test.images)[0]}
    sizes: list[str] = []
    for family, measure, choices in (("PCA", pca, COMPONENTS), ("k-means", k_means, CLUSTERS)):
        plain = {f"{family} {size}": measure(learnt_of, size)(asked) for size in choices}
        weighed = {f"{name} per ink": per_ink(novelty, asked) for name, novelty in plain.items()}
        for found in (plain, weighed):
            found_areas = {name: auroc(novelty, foreign) for name, novelty in found.items()}
            sizes.extend(f"{name}: {value:.3f}" for name, value in found_areas.items())
            chosen = max(found_areas, key=lambda name: found_areas[name])
            shown[chosen] = found[chosen]
    table = compared(shown, test.kinds, resamples=resamples)
    columns = [*data.FOREIGN, "all", "lead"]
    yield f"| | {' | '.join(columns)} |"
    yield f"| - |{' - |' * len(columns)}"
    for name, row in table.items():
        yield f"| {name} | {' | '.join(_words(row[column]) if column in row else '' for column in columns)} |"
    yield ""
    yield f"all sizes, against all: {', '.join(sizes)}"


def main(arguments: Sequence[str]) -> int:
    """Print what `lesson` and `comparison` tell of a checkpoint; return the exit code, 1 where it or its data is missing."""
    parser = argparse.ArgumentParser(prog="python -m models.novelty.baseline", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint's folder; else the newest in checkpoints/")
    parser.add_argument("--resamples", type=int, default=bootstrap.RESAMPLES, help="draws that an interval is taken from")
    given = parser.parse_args(arguments)
    if given.resamples < 1:
        print(f"baseline: resamples: expected 1 or more, found {given.resamples}", file=sys.stderr)
        return 2
    try:
        network = SPEC.build()
        checkpoint.restore(checkpoint.load(given.checkpoint or checkpoint.newest(Path("checkpoints"), SPEC.name)), network)
        splits = SPEC.datasets(None)
    except (CheckpointError, DataError) as error:
        print(f"baseline: {error}", file=sys.stderr)
        return 1
    if not isinstance(splits.train, data.Images) or not isinstance(splits.test, data.Images):
        raise TypeError("splits: expected Images")
    for line in (*lesson(network), "", *comparison(network, splits.train, splits.test, resamples=given.resamples)):
        print(line)
    return 0


def _words(score: Score) -> str:
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
