"""Simpler methods on the network's own split, beside a checkpoint: `python -m models.digits.baseline`.

Logistic regression, nearest neighbours and a support vector machine, each with scikit-learn's defaults, of pixels from 0 to
1. They learn of the train and the validation split together, the network of the first alone.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.digits import SPEC, data
from models.spec import DataError
from models.tensors import Array
from training import checkpoint, mcnemar
from training.checkpoint import CheckpointError
from training.evaluate import predict_with
from training.scores import proportion

#: The one that a table of all models names: the best of them.
STANDARD = "support vector machine"


def classifiers() -> dict[str, Any]:  # Any: scikit-learn is not typed
    """Return the methods by name, not fitted yet."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "logistic regression": LogisticRegression(max_iter=1000),
        "nearest neighbours": KNeighborsClassifier(),
        STANDARD: SVC(),
    }


def decided(classifier: Any, learnt: Sequence[data.Digits], asked: data.Digits) -> Array:
    """Fit one to some splits, and return its decisions on another, INT64 [n]."""
    classifier.fit(
        np.concatenate([pixels(split.images) for split in learnt]), np.concatenate([split.labels for split in learnt])
    )
    return np.asarray(classifier.predict(pixels(asked.images)))


def standard(data_dir: Path | None = None) -> tuple[str, Array]:
    """Return the standard method's name, and 1 for the class it chooses and 0 for all others, FP32 [n, 10] of the test."""
    train, validation, test = _splits(data_dir)
    return STANDARD, np.eye(data.CLASSES, dtype=np.float32)[decided(classifiers()[STANDARD], [train, validation], test)]


def judged(network: nn.Module, images: Tensor) -> Array:
    """Return the decisions of the network, INT64 [n]."""
    with torch.inference_mode():
        return predict_with(SPEC, network)({"image": images}).argmax(1).numpy()


def compared(decisions: Mapping[str, Array], labels: Array) -> Iterator[str]:
    """Yield the lines of a table: accuracies, and how probable so uneven a split of errors with the first's is by chance."""
    yield "| | accuracy | wrong where the first is right | right where it is wrong | p (McNemar) |"
    yield "| - | - | -: | -: | -: |"
    first = next(iter(decisions.values())) == labels
    for name, found in decisions.items():
        right = found == labels
        score = proportion(int(right.sum()), len(labels))
        worse, better = int((first & ~right).sum()), int((right & ~first).sum())
        cells = f"{score.value:.2%} ({score.low:.2%} to {score.high:.2%}) | {worse} | {better}"
        yield f"| {name} | {cells} | {mcnemar.p_value(worse, better):.2g} |"


def pixels(images: Tensor) -> Array:
    """Return UINT8 images [n, 28, 28] as vectors, FLOAT64 [n, 784] from 0 to 1."""
    return np.asarray(images.numpy().reshape(len(images), -1) / 255.0)


def main(arguments: Sequence[str]) -> int:
    """Print the table for a checkpoint; return the exit code, 1 where it or its data is missing."""
    parser = argparse.ArgumentParser(prog="python -m models.digits.baseline", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint's folder; else the newest in checkpoints/")
    parser.add_argument("--data-dir", type=Path, help="a downloaded data set, in place of the packaged one")
    given = parser.parse_args(arguments)
    try:
        network = SPEC.build()
        checkpoint.restore(checkpoint.load(given.checkpoint or checkpoint.newest(Path("checkpoints"), SPEC.name)), network)
        train, validation, test = _splits(given.data_dir)
    except (CheckpointError, DataError) as error:
        print(f"baseline: {error}", file=sys.stderr)
        return 1
    decisions = {"network": judged(network, test.images)}
    decisions |= {name: decided(found, [train, validation], test) for name, found in classifiers().items()}
    for line in compared(decisions, test.labels.numpy()):
        print(line)
    return 0


def _splits(data_dir: Path | None) -> list[data.Digits]:
    given = SPEC.datasets(data_dir)
    splits = [split for split in (given.train, given.validation, given.test) if isinstance(split, data.Digits)]
    if len(splits) != 3:
        raise TypeError("splits: expected Digits")
    return splits


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
