"""Outlines: the closed curves of a letter in a font, and how a closed curve becomes pixels.

Pillow would draw letters too, yet each of its versions draws them a little differently, as FreeType, which it carries, hints
and smooths differently. Here a letter is what the font file says, and only sums and products follow, which are the same on
every machine: so are the pixels, and a checksum can guard them.
"""

from pathlib import Path
from typing import TypeAlias

import numpy as np

from models.spec import DataError
from models.tensors import Array

#: Closed polygons, FLOAT64 [points, 2] as x and y. What is inside is decided by all of them together, as in a font: the
#: hole of an A runs the other way round than its rim.
Outline: TypeAlias = list[Array]

#: Pieces that a curve is cut into: at 20 pixels a letter, corners between them are a fiftieth of a pixel deep.
_PIECES = 8

#: Points in a pixel, each way, that are asked whether they are inside: 25 shades for an edge.
_SAMPLES = 5


def read(path: Path, characters: str) -> dict[str, Outline]:
    """Return the outlines of these characters, in the font's units, y upwards; raise DataError where the font lacks one."""
    from fontTools.ttLib import TTFont

    with TTFont(path, lazy=True) as font:
        names, glyphs = font.getBestCmap(), font.getGlyphSet()
        missing = [character for character in characters if ord(character) not in names]
        if missing:
            raise DataError(f"{path}: expected the letters {characters}, found no {missing[0]}")
        return {character: _flattened(glyphs[names[ord(character)]], glyphs) for character in characters}


def refined(outline: Outline, longest: float) -> Outline:
    """Return the outline with points added, so that no edge is longer than that and a bend of the plane bends it too."""
    return [_refined(contour, longest) for contour in outline]


def fill(outline: Outline, side: int) -> Array:
    """Return how much of each pixel is inside, FLOAT64 [side, side] from 0 to 1; x to the right and y down, in pixels.

    A point is inside where the curves run around it more often one way than the other (the non-zero winding rule of
    TrueType): each edge is met by the rows of sample points that it crosses, and turns all points right of it once.
    """
    fine = side * _SAMPLES
    turns = np.zeros((fine, fine + 1), np.int64)  # the last column takes what lies to the right of the image
    rows = (np.arange(fine) + 0.5) / _SAMPLES
    for contour in outline:
        x, y = contour[:, 0], contour[:, 1]
        next_x, next_y = np.roll(x, -1), np.roll(y, -1)
        edge, row = np.nonzero((y[:, None] <= rows) != (next_y[:, None] <= rows))
        along = (rows[row] - y[edge]) / (next_y[edge] - y[edge])
        crossing = x[edge] + along * (next_x[edge] - x[edge])
        first = np.ceil(crossing * _SAMPLES - 0.5).clip(0, fine).astype(np.int64)
        np.add.at(turns, (row, first), np.where(next_y[edge] > y[edge], 1, -1))
    inside = turns.cumsum(axis=1)[:, :fine] != 0
    return np.asarray(inside.reshape(side, _SAMPLES, side, _SAMPLES).mean(axis=(1, 3)))


def _flattened(glyph: object, glyphs: object) -> Outline:
    """Return a glyph as polygons: what it is composed of is put together, its curves are cut into pieces."""
    from fontTools.pens.basePen import decomposeQuadraticSegment
    from fontTools.pens.recordingPen import DecomposingRecordingPen

    pen = DecomposingRecordingPen(glyphs)
    glyph.draw(pen)  # type: ignore[attr-defined]  # fontTools ships no types
    outline: Outline = []
    points: list[tuple[float, float]] = []
    for verb, operands in pen.value:
        match verb:
            case "moveTo" | "lineTo":
                points.extend(operands)
            case "qCurveTo":
                for control, end in decomposeQuadraticSegment(operands):
                    points.extend(_curve(points[-1], control, end))
            case "closePath":
                outline.append(np.array(points, np.float64))
                points = []
            case _:
                raise DataError(f"expected lines and quadratic curves, as TrueType has them, found {verb}")
    return outline


def _curve(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Return points on a quadratic Bézier curve, its start left out."""
    found = []
    for piece in range(1, _PIECES + 1):
        t = piece / _PIECES
        a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        found.append((a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1]))
    return found


def _refined(contour: Array, longest: float) -> Array:
    edges = np.roll(contour, -1, axis=0) - contour
    pieces = np.ceil(np.abs(edges).max(axis=1) / longest).clip(1).astype(np.int64)
    start = np.repeat(np.arange(len(contour)), pieces)
    step = np.arange(len(start)) - np.repeat(pieces.cumsum() - pieces, pieces)
    return np.asarray(contour[start] + edges[start] * (step / pieces[start])[:, None])
