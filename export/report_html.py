"""The report as one page for a browser: verdicts, error histograms, and the worst samples as pictures.

The page holds all it shows and fetches nothing, so that it can be kept as a build's artifact and opened years later.
"""

import base64
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from export.attempt import FormatResult
from export.evidence import Histogram, Worst
from export.publish import Publication
from models.content import ImageContent
from models.manifest import OutputParity
from models.tensors import Array, show_shape

#: Values of a tensor that are shown before it is cut.
_SHOWN_VALUES = 12

#: Width of the bars of a histogram's longest one, in percent of its column.
_FULL = 100.0


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bin: what it counts, how many, how long its bar is in percent, and whether it lies beyond the tolerance."""

    label: str
    count: int
    length: float
    beyond: bool


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor of a sample: a picture as data of a URL, or its first values."""

    name: str
    picture: str | None
    values: str


@dataclass(frozen=True, slots=True)
class _Sample:
    """One sample: what went in, what was expected, what was found."""

    number: int
    tensors: tuple[_Tensor, ...]


@dataclass(frozen=True, slots=True)
class _Output:
    """What the page shows of one output of one format."""

    parity: OutputParity
    bars: tuple[_Bar, ...]
    worst: tuple[_Sample, ...]


def to_bytes(publication: Publication, *, dry_run: bool = False) -> bytes:
    """Return the page as UTF-8."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["scientific"] = lambda number: "–" if number is None else f"{number:.2g}"
    environment.filters["cosine"] = lambda number: "–" if number is None else f"1 − {1 - number:.1e}"
    page = environment.get_template("report.html.j2").render(
        publication=publication,
        dry_run=dry_run,
        formats=[(result, _outputs(publication, result)) for result in publication.results],
    )
    return page.encode(errors="replace")  # a message may hold half a character


def _outputs(publication: Publication, result: FormatResult) -> list[_Output]:
    if result.artifact is None:
        return []
    found = []
    for parity in result.artifact.parity.outputs:
        one = result.evidence.get(parity.output)
        bars = () if one is None else _bars(one.histogram, parity.tolerance)
        worst = () if one is None else tuple(_worst(publication, parity.output, sample) for sample in one.worst)
        found.append(_Output(parity, bars, worst))
    return found


def _bars(histogram: Histogram, tolerance: float) -> tuple[_Bar, ...]:
    """Return the bars of a histogram; their lengths are logarithmic, or one error among millions would not be seen."""
    edges = zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False)
    counted = [("equal", histogram.equal, False)]
    counted += [(f"{low:.1e} – {high:.1e}", count, low >= tolerance) for low, high, count in edges]
    counted += [("not a number", histogram.infinite, True)] if histogram.infinite else []
    most = math.log1p(max(count for _, count, _ in counted)) or 1.0
    return tuple(_Bar(label, count, _FULL * math.log1p(count) / most, beyond) for label, count, beyond in counted)


def _worst(publication: Publication, output: str, worst: Worst) -> _Sample:
    source, content = publication.subject.source, publication.subject.content
    image = content.input if content is not None and isinstance(content.input, ImageContent) else None
    inputs = [_tensor(f"input {name}", array[worst.sample], _painter(image, name)) for name, array in source.samples.items()]
    answers = [(f"expected {output}", worst.expected), (f"found {output}", worst.found)]
    return _Sample(worst.sample, (*inputs, *(_tensor(name, array, None) for name, array in answers)))


def _painter(image: ImageContent | None, tensor: str) -> ImageContent | None:
    return image if image is not None and image.tensor == tensor else None


def _tensor(name: str, array: Array, image: ImageContent | None) -> _Tensor:
    if image is not None:
        return _Tensor(name, f"data:image/png;base64,{base64.b64encode(image.to_png(array)).decode()}", "")
    flat = np.ravel(array)
    shown = ", ".join(f"{value:.9g}" if array.dtype.kind == "f" else str(value) for value in flat[:_SHOWN_VALUES])
    more = f", … ({flat.size:,} values)" if flat.size > _SHOWN_VALUES else ""
    return _Tensor(f"{name} {array.dtype} {show_shape(array.shape)}", None, shown + more)
