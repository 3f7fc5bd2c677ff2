"""Content parity: an image file read by a server and the same image in the training pipeline are the same tensor.

Parity compares files with the eager model on tensors. That the tensor which a server makes of a picture is the one that the
network was trained with is another matter, and as easily lost: to other channels, another orientation, another scale.
"""

import io

import numpy as np

from export.subject import Subject
from models.content import ContentError, ImageContent
from models.tensors import Array, SignatureError

#: Samples that are written and read: a fault of a decoder shows in most images.
_SAMPLES = 16


def faults(subject: Subject) -> tuple[str, ...]:
    """Write held-out inputs as PNG files and read them as a server does; return how they come back otherwise.

    Tried are inputs as the training pipeline gives them, where it is known, and the samples of parity, which are what the
    files were compared on. Nothing to try where the model has no content.
    """
    if subject.content is None:
        return ()
    image = subject.content.input
    trained = [] if subject.pipeline is None else [inputs[image.tensor] for inputs in subject.pipeline()]
    found = (_read_otherwise(image, trained, "the training pipeline"),
             _read_otherwise(image, subject.source.samples[image.tensor][:_SAMPLES], "the samples of parity"))  # fmt: skip
    return tuple(fault for fault in found if fault is not None)


def _read_otherwise(image: ImageContent, tensors: "list[Array] | Array", whose: str) -> str | None:
    """Return how the first tensor that does not come back differs, or None."""
    from PIL import Image

    for index, tensor in enumerate(tensors):
        expected = f"content: image {index} of {whose}"
        if tensor.dtype != np.uint8:
            return f"{expected}: expected pixels as uint8, as servers decode them, found {tensor.dtype}"
        file = image.to_png(tensor)
        # Read by Pillow alone: else a writer and a reader that turn the picture alike would undo each other.
        with Image.open(io.BytesIO(file)) as plain:
            written = np.asarray(plain)
        if not np.array_equal(written, tensor):
            return f"{expected} is written as other pixels: {_apart(written, tensor)}"
        try:
            found = image.read(file)[image.tensor][0]
        except (ContentError, SignatureError) as error:
            return f"{expected}, as a PNG file, is refused by the server's decoder: {error}"
        if not np.array_equal(found, tensor):
            return f"{expected}, as a PNG file, is read by the server's decoder as other pixels: {_apart(found, tensor)}"
    return None


def _apart(found: Array, expected: Array) -> str:
    if found.shape != expected.shape:
        return f"expected shape {list(expected.shape)}, found {list(found.shape)}"
    return f"{np.count_nonzero(found != expected):,} of {expected.size:,} differ"
