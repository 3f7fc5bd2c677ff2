"""Letters as foreign images: printed ones, bent and slanted as a hand would, in MNIST's frame and as sharp as MNIST.

Were they drawn in another size, place or sharpness than the digits, that alone would give them away, and nothing would be
learnt about shapes. Nothing is random: how a letter is bent is read off the SHAKE-256 of its name.
"""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np

from models.novelty import outlines
from models.novelty.outlines import Outline
from models.spec import DataError
from models.tensors import Array

SIDE = 28

#: Letters that no digit looks like. Left out: D O Q o (0), I J i j l (1), Z z (2), S s (5), G b (6), B (8), g q (9).
CHARACTERS = "ACEFHKLMNPRTUVWXYacdefhkmnprtuvwxy"

#: The fonts, from matplotlib's wheel, and what `sha256sum` says of each.
FONTS = {
    "DejaVuSans": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
    "DejaVuSans-Oblique": "ccdf74b350f11fd3dd5774de50e5e6346a1a5da1f5b7d5fb83590665e97a5213",
    "DejaVuSansMono": "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3",
    "DejaVuSerif": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
    "STIXGeneral": "167378031e2dddc6216d67819c9260e9a06ffc4c478e4e23cb98a6fd44b183c2",
    "STIXGeneralItalic": "6cfcb333d22b7c3c623bdfd40174f14c85c3d6731ca6166c1edc80140eae8527",
    "STIXGeneralBol": "e8533dc7083fa346bda1933d60ea4a83b67d0945bceaf1b3541f82b4a0e2c6a0",
    "STIXGeneralBolIta": "98788fd4ba48dfbb2bd026c0e20a247a8b06c7372879628b7a6bb0d5bb09736c",
}

#: How often each letter of each font is drawn, each time bent in another way.
VARIATIONS = 2

#: MNIST's frame: the box that a digit fills, in pixels.
_BOX = 20

#: How far a letter may be changed: its slant (x per y), half of what it is turned by (as a tangent: up to 11°), what it
#: is stretched by, and how far the corners and middles of its box are moved, in parts of the box.
_SLANT, _TURN, _STRETCH, _BEND = 0.3, 0.1, 0.25, 0.08


def draw() -> Array:
    """Return every letter of every font, UINT8 [letters × fonts × VARIATIONS, 28, 28]; raise DataError for another font."""
    drawn = []
    for name, sha256 in FONTS.items():
        for character, outline in outlines.read(_font(name, sha256), CHARACTERS).items():
            upright = outlines.refined(_boxed(outline), 0.1)
            for variation in range(VARIATIONS):
                numbers = _numbers(f"{name} {character} {variation}", 4 + 18)
                drawn.append(_framed(_bent(upright, numbers)))
    return np.stack(drawn)


def _font(name: str, sha256: str) -> Path:
    """Return the path of a font that is the one meant."""
    # Found, not imported: matplotlib would take a second, and only its files are wanted.
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        raise DataError(f"{name}.ttf: expected in the package matplotlib, which is not installed: pip install matplotlib")
    path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        remedy = "reinstall it with: pip install --force-reinstall matplotlib"
        raise DataError(f"{path}: {error.strerror or error}; {remedy}") from error
    if found != sha256:
        raise DataError(f"{path}: expected sha256 {sha256}, found {found}: another version of the font, or altered")
    return path


def _numbers(name: str, count: int) -> Array:
    """Return numbers between -1 and 1 that look drawn at random, and are the same wherever that name is asked for."""
    stream = hashlib.shake_256(name.encode()).digest(2 * count)
    return np.frombuffer(stream, "<u2").astype(np.float64) / 32767.5 - 1


def _boxed(outline: Outline) -> Outline:
    """Return the outline moved and scaled so that its larger side goes from -1 to 1 and both are centred."""
    points = np.concatenate(outline)
    low, high = points.min(axis=0), points.max(axis=0)
    half = (high - low).max() / 2
    return [(contour - (low + high) / 2) / half for contour in outline]


def _bent(outline: Outline, numbers: Array) -> Outline:
    """Return the outline slanted, turned, stretched and bent; FLOAT64 numbers [22] between -1 and 1 say how."""
    slant, turn = numbers[0] * _SLANT, numbers[1] * _TURN
    # Cosine and sine from the half angle's tangent, by arithmetic alone: cos() may differ in its last digit.
    cos, sin = (1 - turn * turn) / (1 + turn * turn), 2 * turn / (1 + turn * turn)
    width, height = 1 + numbers[2:4] * _STRETCH
    moves = (numbers[4:] * 2 * _BEND).reshape(3, 3, 2)
    bent = []
    for contour in outline:
        x, y = (contour + _between(moves, contour)).T
        x, y = (x - slant * y) * width, y * height
        bent.append(np.stack([cos * x - sin * y, sin * x + cos * y], axis=1))
    return bent


def _between(moves: Array, points: Array) -> Array:
    """Return how far each point is moved: between the nine places of a 3 × 3 grid over the box, bilinearly."""
    place = points.clip(-1, 1) + 1
    cell = place.astype(np.int64).clip(0, 1)
    across, down = (place - cell).T[:, :, None]
    column, row = cell.T
    upper = moves[row, column] * (1 - across) + moves[row, column + 1] * across
    lower = moves[row + 1, column] * (1 - across) + moves[row + 1, column + 1] * across
    return np.asarray(upper * (1 - down) + lower * down)


def _framed(outline: Outline) -> Array:
    """Return the outline as MNIST frames a digit, UINT8 [28, 28]: its larger side is 20 pixels, its mass in the middle."""
    ink = outlines.fill([contour * (1, -1) * _BOX / 2 + SIDE / 2 for contour in _boxed(outline)], SIDE)
    middle = (SIDE - 1) / 2
    places = np.arange(SIDE)
    down = round(middle - float((places * ink.sum(axis=1)).sum() / ink.sum()))
    right = round(middle - float((places * ink.sum(axis=0)).sum() / ink.sum()))
    # 4 pixels are empty at each border, and no letter's mass is further from the middle of its box.
    return np.roll(np.asarray((ink * 255).round().astype(np.uint8)), (down, right), axis=(0, 1))
