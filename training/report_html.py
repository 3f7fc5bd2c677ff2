"""The evaluation as one page for a browser: scores, tables, plots, and the worst mistakes as they were sent.

The page holds all it shows and fetches nothing, so that it can be kept beside a model and opened years later.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.tasks import Classification, Novelty, Regression
from training import plots
from training.findings import Evaluation, Findings
from training.scores import Score, number
from training.shown import Shown


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture as data of a URL, and in words what it shows."""

    source: str
    title: str


def to_bytes(found: Evaluation) -> bytes:
    """Return the page as UTF-8."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["score"] = _score
    environment.filters["interval"] = _interval
    environment.filters["picture"] = _png
    page = environment.get_template("report.html.j2").render(
        evaluation=found,
        subjects=[(one, _plots(found, one)) for one in found.findings],
        verdict=found.verdict,
    )
    return page.encode(errors="replace")


def _plots(found: Evaluation, one: Findings) -> list[_Picture]:
    drawn: list[plots.Plot] = []
    match found.task:
        case Classification():
            if one.confusion is not None:
                drawn.append(plots.confusion(one.confusion.matrix, found.labels))
            if one.calibration is not None:
                drawn.append(plots.reliability(one.calibration))
        case Regression():
            drawn.append(plots.predicted(one.answers, found.targets, found.task.unit))
            drawn.append(plots.residuals(one.answers, found.targets, found.task.unit))
        case Novelty():
            drawn.append(plots.novelty(one.answers, found.targets))
    return [_Picture(_url(plot.data, plot.media_type), plot.title) for plot in drawn]


def _png(shown: Shown) -> str:
    return _url(shown.picture or b"", "image/png")


def _url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _score(score: Score | None) -> str:
    """Return a score in its unit."""
    if score is None:
        return "–"
    unit = " %" if score.unit is None else f" {score.unit}".rstrip()
    return f"{number(score.value, score.unit)}{unit}"


def _interval(score: Score | None) -> str:
    if score is None:
        return "–"
    return f"{number(score.low, score.unit)} to {number(score.high, score.unit)}"
