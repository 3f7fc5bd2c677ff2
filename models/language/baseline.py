"""Naive Bayes on n-grams of characters, beside a checkpoint, by the length of texts: `python -m models.language.baseline`.

It learns of the very texts that the network learns of. Its n-grams and its smoothing are those that do best on the
validation split; so was the network's recipe chosen. A last row is what the lists tell at all: languages share words.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.language import SPEC, data, words
from models.spec import DataError
from models.tensors import Array
from training import bootstrap, checkpoint
from training.checkpoint import CheckpointError
from training.scores import Score, proportion

#: What scikit-learn's n-grams may be of: texts as they are, or words with a space on either side. How counts are smoothed.
ANALYZERS = ("char", "char_wb")
SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
LONGEST = 5

#: What a word that a list has not is worth to who knows the lists by heart: less than any that is in one.
_UNKNOWN = 1e-9


def as_words(split: data.Texts) -> list[str]:
    """Return the texts of a split."""
    return [row.tobytes().rstrip(b"\0").decode() for row in split.letters.numpy()]


def naive_bayes(train: data.Texts, validation: data.Texts, test: data.Texts) -> tuple[str, Array]:
    """Return which naive Bayes does best on the validation split, in words, and its decisions on the test, INT64 [n]."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    known = [as_words(split) for split in (train, validation, test)]
    labels, wanted = train.languages.numpy(), validation.languages.numpy()
    best, name, decisions = -1.0, "", np.empty(0, np.int64)
    for analyzer in ANALYZERS:
        counter = CountVectorizer(analyzer=analyzer, ngram_range=(1, LONGEST), dtype=np.float32)
        learnt, chosen, asked = counter.fit_transform(known[0]), counter.transform(known[1]), counter.transform(known[2])
        for smoothing in SMOOTHINGS:
            fitted = MultinomialNB(alpha=smoothing).fit(learnt, labels)
            accuracy = float((fitted.predict(chosen) == wanted).mean())
            if accuracy > best:
                name = f"{analyzer}, smoothed by {smoothing:g}, {accuracy:.2%} on validation"
                best, decisions = accuracy, fitted.predict(asked)
    return name, decisions


def standard(data_dir: Path | None = None) -> tuple[str, Array]:
    """Return naive Bayes's name, and 1 for the language it chooses and 0 for all others, FP32 [n, 16] of the test."""
    found = SPEC.datasets(data_dir)
    splits = [split for split in (found.train, found.validation, found.test) if isinstance(split, data.Texts)]
    if len(splits) != 3:
        raise TypeError("splits: expected Texts")
    _, decisions = naive_bayes(*splits)
    return "naive Bayes", np.eye(len(data.LANGUAGES), dtype=np.float32)[decisions]


def judged(network: nn.Module, test: data.Texts) -> Array:
    """Return the decisions, INT64 [n], of the very module that is exported."""
    serving = SPEC.serving_module(network)
    with torch.inference_mode():
        return torch.cat([serving(part)[1] for part in torch.split(test.letters, 256)]).numpy()


def by_heart(lists: Mapping[str, Sequence[words.Word]], test: data.Texts) -> Array:
    """Return the decisions of who knows every word's frequency, those withheld from training too, INT64 [n]."""
    known = []
    for found in lists.values():
        total = sum(word.frequency for word in found)
        known.append({word.letters: math.log(word.frequency / total) for word in found})
    least = math.log(_UNKNOWN)
    sums = [
        [sum(language.get(word, least) for word in text.encode().split()) for language in known] for text in as_words(test)
    ]
    return np.asarray(np.array(sums).argmax(axis=1))


def lead(first: Array, second: Array, *, resamples: int) -> Score:
    """Return by how much more often the first is right, of BOOL [n] each, with the interval of draws that both share."""
    apart = first.astype(np.float64) - second
    low, high = bootstrap.interval(lambda rows: float(apart[rows].mean()), len(apart), resamples=resamples)
    return Score(float(apart.mean()), low, high, len(apart))


def table(right: Mapping[str, Array], counts: Array, *, resamples: int) -> Iterator[str]:
    """Yield the lines of a table: shares that are right by band and in all, then the first's lead of the second."""
    bands = [(counts >= first) & (counts <= last) for first, last in data.BANDS] + [np.ones(len(counts), np.bool_)]
    heads = [f"{first}" if first == last else f"{first} to {last}" for first, last in data.BANDS]
    yield f"| words | {' | '.join(heads)} | all |"
    yield f"| - |{' - |' * len(bands)}"
    for name, found in right.items():
        yield f"| {name} | {' | '.join(_share(proportion(int(found[band].sum()), int(band.sum()))) for band in bands)} |"
    first, second = list(right.values())[:2]
    leads = [lead(first[band], second[band], resamples=resamples) for band in bands]
    yield f"| lead, in points | {' | '.join(_points(one) for one in leads)} |"


def confusions(decisions: Array, languages: Array, most: int = 12) -> Iterator[str]:
    """Yield the pairs that are taken for each other most often, and each language's share that is right."""
    size = len(data.LANGUAGES)
    matrix = np.bincount(languages * size + decisions, minlength=size * size).reshape(size, size)
    totals = matrix.sum(axis=1)
    yield "right: " + ", ".join(f"{name} {matrix[at, at] / totals[at]:.1%}" for at, name in enumerate(data.LANGUAGES))
    off = np.where(np.eye(size, dtype=np.bool_), 0, matrix).ravel()
    worst = np.argsort(-off, kind="stable")[:most]
    pairs = [(data.LANGUAGES[at // size], data.LANGUAGES[at % size], off[at] / totals[at // size]) for at in worst]
    yield "taken for another: " + ", ".join(f"{one} for {other} {share:.1%}" for one, other, share in pairs)


def main(arguments: Sequence[str]) -> int:
    """Print the table of a checkpoint and its confusions; return the exit code, 1 where it or its data is missing."""
    parser = argparse.ArgumentParser(prog="python -m models.language.baseline", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint's folder; else the newest in checkpoints/")
    parser.add_argument("--resamples", type=int, default=bootstrap.RESAMPLES, help="draws that an interval is taken from")
    given = parser.parse_args(arguments)
    if given.resamples < 1:
        print(f"baseline: resamples: expected 1 or more, found {given.resamples}", file=sys.stderr)
        return 2
    try:
        network = SPEC.build()
        checkpoint.restore(checkpoint.load(given.checkpoint or checkpoint.newest(Path("checkpoints"), SPEC.name)), network)
        splits = data.datasets()
        lists = words.read()
    except (CheckpointError, DataError) as error:
        print(f"baseline: {error}", file=sys.stderr)
        return 1
    train, validation, test = (data.texts_of(split) for split in (splits.train, splits.validation, splits.test))
    languages = test.languages.numpy()
    name, decisions = naive_bayes(train, validation, test)
    found = {"network": judged(network, test), "naive Bayes": decisions, "lists by heart": by_heart(lists, test)}
    for line in table({who: what == languages for who, what in found.items()}, test.counts(), resamples=given.resamples):
        print(line)
    print(f"\nnaive Bayes: {name}")
    for line in confusions(found["network"], languages):
        print(line)
    return 0


def _share(score: Score) -> str:
    return f"{score.value:.1%} ({score.low * 100:.1f} to {score.high * 100:.1f})"


def _points(score: Score) -> str:
    return f"{score.value * 100:+.1f} ({score.low * 100:+.1f} to {score.high * 100:+.1f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
