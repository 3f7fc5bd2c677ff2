"""Linear regression and boosted trees on the network's own split, beside a checkpoint: `python -m models.diamonds.baseline`.

The baselines learn of the train and the validation split together, the network of the first alone: what it does with the
second, choosing between epochs, they need not. All are asked about the same test stones, and each is compared with the
network on the same draws of them (the paired bootstrap). Stones are drawn, not rows: those of one stone err alike.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.diamonds import SPEC, data
from models.diamonds.table import GRADES
from models.spec import DataError
from models.tensors import Array
from training import bootstrap, checkpoint
from training.checkpoint import CheckpointError
from training.evaluate import predict_with
from training.scores import Score, rmse

#: From a table's rows to their prices in USD, FLOAT64 [n].
Prices = Callable[[data.Diamonds], Array]


def linear(train: Sequence[data.Diamonds]) -> Prices:
    """Fit least squares to prices, of the numbers as they are and an indicator for every grade."""
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(_indicators(train), _prices(train))
    return lambda stones: np.asarray(fitted.predict(_indicators([stones])))


def linear_of_logarithms(train: Sequence[data.Diamonds]) -> Prices:
    """Fit least squares to logarithms of prices, of the same and the logarithm of carat: what is done by hand with these."""
    from sklearn.linear_model import LinearRegression

    def features(splits: Sequence[data.Diamonds]) -> Array:
        indicators = _indicators(splits)
        return np.column_stack([indicators, np.log(indicators[:, 0])])

    fitted = LinearRegression().fit(features(train), np.log(_prices(train)))
    return lambda stones: np.asarray(np.exp(fitted.predict(features([stones]))))


def boosted_trees(train: Sequence[data.Diamonds]) -> Prices:
    """Fit scikit-learn's HistGradientBoostingRegressor with its defaults; grades are numbers in their order to it."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    # Above 10,000 samples it holds out a tenth to stop by; the seed says which.
    fitted = HistGradientBoostingRegressor(random_state=0).fit(_columns(train), _prices(train))
    return lambda stones: np.asarray(fitted.predict(_columns([stones])))


BASELINES: dict[str, Callable[[Sequence[data.Diamonds]], Prices]] = {
    "linear regression": linear,
    "linear regression of logarithms": linear_of_logarithms,
    "boosted trees": boosted_trees,
}


def standard(data_dir: Path | None = None) -> tuple[str, Array]:
    """Return the boosted trees' name and prices on the test split, FP32 [n]."""
    train, validation, test = data.splits(data_dir)
    return "boosted trees", boosted_trees([train, validation])(test).astype(np.float32)


def judged(network: nn.Module, stones: data.Diamonds) -> Array:
    """Return prices, FLOAT64 [n], from the very module that is exported."""
    predict = predict_with(SPEC, network)
    with torch.inference_mode():
        found = predict({"numbers": stones.numbers, "grades": stones.grades})
    return found.numpy().astype(np.float64)


def error(errors: Sequence[Array], stones: Array, *, resamples: int = bootstrap.RESAMPLES) -> Score:
    """Return the RMSE of errors [n] or, of two, by how much the first's is larger; with its 95 % interval.

    `stones` [n] are the same for rows of the same stone; a draw is of stones, with all rows that each has.
    """
    places = np.unique(stones, return_inverse=True)[1]
    rows = np.bincount(places)
    squares = [np.bincount(places, np.square(one)) for one in errors]

    def statistic(drawn: Array) -> float:
        found = [float(np.sqrt(each[drawn].sum() / rows[drawn].sum())) for each in squares]
        return found[0] - sum(found[1:])

    low, high = bootstrap.interval(statistic, len(rows), resamples=resamples)
    return Score(rmse(errors[0]) - sum(rmse(one) for one in errors[1:]), low, high, len(stones), "USD")


def compared(answers: Mapping[str, Array], test: data.Diamonds, *, resamples: int = bootstrap.RESAMPLES) -> Iterator[str]:
    """Yield the lines of a table: each one's errors and, but for the first, by how much its RMSE is above the first's."""
    prices = test.prices.numpy().astype(np.float64)
    errors = {name: found - prices for name, found in answers.items()}
    first = next(iter(errors))
    yield "| | RMSE, USD | mean error, USD | median error, % | R² | RMSE above the first's |"
    yield "| - | - | -: | -: | -: | - |"
    for name, one in errors.items():
        above = "" if name == first else _words(error([one, errors[first]], test.identities, resamples=resamples))
        root = _words(error([one], test.identities, resamples=resamples))
        share, explained = np.median(np.abs(one) / prices), 1 - np.mean(np.square(one)) / prices.var()
        yield f"| {name} | {root} | {np.abs(one).mean():.0f} | {share:.1%} | {explained:.4f} | {above} |"


def main(arguments: Sequence[str]) -> int:
    """Print the table for a checkpoint; return the exit code, 1 where it or its data is missing."""
    parser = argparse.ArgumentParser(prog="python -m models.diamonds.baseline", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint's folder; else the newest in checkpoints/")
    parser.add_argument("--data-dir", type=Path, help="a folder with another diamonds.csv")
    parser.add_argument("--resamples", type=int, default=bootstrap.RESAMPLES, help="draws that an interval is taken from")
    given = parser.parse_args(arguments)
    if given.resamples < 1:
        print(f"baseline: resamples: expected 1 or more, found {given.resamples}", file=sys.stderr)
        return 2
    try:
        network = SPEC.build()
        checkpoint.restore(checkpoint.load(given.checkpoint or checkpoint.newest(Path("checkpoints"), SPEC.name)), network)
        train, validation, test = data.splits(given.data_dir)
    except (CheckpointError, DataError) as found:
        print(f"baseline: {found}", file=sys.stderr)
        return 1
    answers = {"network": judged(network, test)}
    answers |= {name: fit([train, validation])(test) for name, fit in BASELINES.items()}
    for line in compared(answers, test, resamples=given.resamples):
        print(line)
    return 0


def _columns(splits: Sequence[data.Diamonds]) -> Array:
    """Return numbers and grades beside each other, FLOAT64 [n, 9]."""
    return np.concatenate([np.column_stack([one.numbers.numpy(), one.grades.numpy()]) for one in splits]).astype(np.float64)


def _indicators(splits: Sequence[data.Diamonds]) -> Array:
    """Return numbers, and 1 or 0 for every grade but the worst of each kind, FLOAT64 [n, 6 + 17]."""
    columns = _columns(splits)
    numbers, grades = columns[:, : -len(GRADES)], columns[:, -len(GRADES) :]
    kinds = enumerate(GRADES.values())
    return np.column_stack(
        [numbers, *(grades[:, place] == grade for place, names in kinds for grade in range(1, len(names)))]
    )


def _prices(splits: Sequence[data.Diamonds]) -> Array:
    return np.concatenate([one.prices.numpy() for one in splits]).astype(np.float64)


def _words(score: Score) -> str:
    return f"{score.value:.0f} ({score.low:.0f} to {score.high:.0f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
