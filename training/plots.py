"""Plots of an evaluation, as SVG or, where there is a point for each sample, PNG. matplotlib draws; nothing is global.

Every picture is made on a figure of its own, without pyplot and its list of figures, so that threads and tests do not meet
in it. Texts are drawn as outlines: a page needs no font.
"""

import io
import warnings
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.tensors import Array
from training.calibration import Calibration

#: More classes than this are drawn without their numbers, which nobody could read.
_MOST_NUMBERED = 20

#: More classes than this are drawn without their names.
_MOST_NAMED = 60

_BINS = 40
_BLUE, _RED, _GREY = "#4a7fc1", "#c4271b", "#888888"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture as the bytes of a file, its media type, and in words what it shows."""

    data: bytes
    media_type: str
    title: str


def confusion(matrix: Array, labels: tuple[str, ...]) -> Plot:
    """Return the confusion matrix: shares of each true class in colour, numbers as text."""
    count = len(labels)
    figure, axes = _figure(*(min(9.0, 2.4 + 0.42 * count),) * 2)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _MOST_NAMED:
        axes.set_xticks(range(count), labels, rotation=90 if max(map(len, labels)) > 2 else 0, parse_math=False)
        axes.set_yticks(range(count), labels, parse_math=False)
    if count <= _MOST_NUMBERED:
        for (truth, decision), number in np.ndenumerate(matrix):
            if number:
                colour = "white" if shares[truth, decision] > 0.5 else "black"
                axes.text(decision, truth, f"{number}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("decision")
    axes.set_ylabel("truth")
    return _svg(figure, "confusion matrix: colours are shares of each true class")


def reliability(found: Calibration) -> Plot:
    """Return accuracy against confidence, with the interval of each bin, and how many decisions are in each."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = [one for one in found.bins if one.accuracy is not None and one.confidence is not None]
    upper.plot((0, 1), (0, 1), color=_GREY, linestyle="--", linewidth=1)
    values = [one.accuracy.value for one in bins if one.accuracy]
    below = [one.accuracy.value - one.accuracy.low for one in bins if one.accuracy]
    above = [one.accuracy.high - one.accuracy.value for one in bins if one.accuracy]
    places = [one.confidence for one in bins if one.confidence is not None]
    upper.errorbar(places, values, yerr=(below, above), fmt="o", color=_BLUE, markersize=4, capsize=2)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    width = 1 / len(found.bins)
    lower.bar([one.low for one in found.bins], [one.samples for one in found.bins], width, align="edge", color=_BLUE)
    lower.set(xlabel="confidence", ylabel="decisions")
    return _svg(
        figure, "reliability: accuracy against confidence, with 95 % intervals; on the dashed line both are the same"
    )


def predicted(answers: Array, targets: Array, unit: str) -> Plot:
    """Return a point for each sample: the answer against the truth."""
    figure, axes = _figure(5, 5)
    axes.scatter(targets, answers, s=6, color=_BLUE, alpha=max(0.25, min(0.8, 300 / len(targets))), linewidths=0)
    axes.locator_params(nbins=5)
    ends = float(min(targets.min(), answers.min())), float(max(targets.max(), answers.max()))
    axes.plot(ends, ends, color=_GREY, linestyle="--", linewidth=1)
    axes.set_xlabel(f"truth, {unit}", parse_math=False)
    axes.set_ylabel(f"answer, {unit}", parse_math=False)
    return _png(figure, "answers against the truth; on the dashed line both are the same")


def residuals(answers: Array, targets: Array, unit: str) -> Plot:
    """Return the histogram of the errors."""
    figure, axes = _figure(5, 3.2)
    axes.hist(answers.astype(np.float64) - targets, bins=_BINS, color=_BLUE)
    axes.axvline(0, color=_GREY, linestyle="--", linewidth=1)
    axes.set_xlabel(f"answer − truth, {unit}", parse_math=False)
    axes.set_ylabel("samples")
    return _svg(figure, "errors, answer − truth")


def novelty(answers: Array, targets: Array) -> Plot:
    """Return the histograms of the scores of familiar and of foreign samples, in the same bins."""
    figure, axes = _figure(6, 3.2)
    edges = np.histogram_bin_edges(answers.astype(np.float64), bins=_BINS)
    for kind, name, colour in ((0, "familiar", _BLUE), (1, "foreign", _RED)):
        axes.hist(answers[targets == kind].astype(np.float64), bins=list(edges), color=colour, alpha=0.6, label=name)
    axes.set_xlabel("novelty")
    axes.set_ylabel("samples")
    axes.legend()
    return _svg(figure, "novelty of familiar and of foreign samples")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, title: str) -> Plot:
    # The salt names the parts: the same plot is the same bytes. Without metadata there is no time in them.
    with mpl.rc_context({"svg.hashsalt": "sameway", "svg.fonttype": "path"}):
        data = _saved(figure, "svg", {"Date": None, "Creator": None, "Type": None, "Format": None})
    return Plot(data, "image/svg+xml", title)


def _png(figure: Figure, title: str) -> Plot:
    return Plot(_saved(figure, "png", {"Software": None}), "image/png", title)


def _saved(figure: Figure, format: str, metadata: dict[str, str | None]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; its name stands in the table besides.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        figure.savefig(file, format=format, dpi=120, metadata=metadata)
    return file.getvalue()
