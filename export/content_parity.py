"""Content parity: what a server makes of an image file, a text or a record is the tensor that the network was trained with.

Parity compares files with the eager model on tensors. That people's input becomes those tensors is another matter, and as
easily lost: to other channels, another orientation, another encoding.
"""

import io
from collections.abc import Sequence

import numpy as np

from export.subject import Subject
from models.content import ContentError, ImageContent, InputContent
from models.tensors import Array, SignatureError, Tensors, rows_of

#: Samples that are written and read: a fault of a reader shows in most of them.
_SAMPLES = 16


def faults(subject: Subject) -> tuple[str, ...]:
    """Write held-out inputs as people send them and read them as a server does; return how they come back otherwise.

    Tried are inputs as the training pipeline gives them, where it is known, and the samples of parity, which are what the
    files were compared on. Nothing to try where the model has no content.
    """
    if subject.content is None:
        return ()
    trained = [] if subject.pipeline is None else subject.pipeline()
    rows = [{name: np.asarray(array)[np.newaxis] for name, array in inputs.items()} for inputs in trained]
    samples = [rows_of(subject.source.samples, index, index + 1) for index in range(min(_SAMPLES, subject.source.rows))]
    content = subject.content.input
    found = (
        _read_otherwise(content, rows, "the training pipeline"),
        _read_otherwise(content, samples, "the samples of parity"),
    )
    return tuple(fault for fault in found if fault is not None)


def _read_otherwise(content: InputContent, rows: Sequence[Tensors], whose: str) -> str | None:
    """Return how the first row that does not come back differs, or None."""
    for index, row in enumerate(rows):
        place = f"content: sample {index} of {whose}"
        if isinstance(content, ImageContent) and (fault := _miswritten(content, row[content.tensor][0])) is not None:
            return f"{place}: {fault}"
        try:
            same = content.restores(row)
        except (ContentError, SignatureError) as error:
            return f"{place}, as people send it, is refused by the server: {error}"
        if not same:
            found = content.read(content.write(row))
            return f"{place}, as people send it, is read by the server as other values: {_apart(found, row)}"
    return None


def _miswritten(image: ImageContent, pixels: Array) -> str | None:
    """Return how a picture is already wrong when it is written, or None.

    It is read by Pillow alone: else a writer and a reader that turn the picture alike would undo each other.
    """
    from PIL import Image

    if pixels.dtype != np.uint8:
        return f"expected pixels as uint8, as servers decode them, found {pixels.dtype}"
    with Image.open(io.BytesIO(image.to_png(pixels))) as plain:
        written = np.asarray(plain)
    same = np.array_equal(written, pixels)
    return None if same else f"is written as other pixels: {_apart({image.tensor: written}, {image.tensor: pixels})}"


def _apart(found: Tensors, expected: Tensors) -> str:
    """Return the first tensor that differs, and by how much."""
    for name, wanted in expected.items():
        array = found[name]
        if array.shape != wanted.shape:
            return f"{name}: expected shape {list(wanted.shape)}, found {list(array.shape)}"
        if not np.array_equal(array, wanted):
            return f"{name}: {np.count_nonzero(array != wanted):,} of {wanted.size:,} values differ"
    return "nothing"
