"""Every limit on what a client may send, with its default and its reason.

A limit is enforced before the memory it protects is allocated.
"""

from dataclasses import dataclass

from models.content import MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    body_bytes         32 MiB hold 40,000 images of 28 × 28 in binary, or 2,000 as JSON: far more than one batch
    tensors            inputs and, as many again, requested outputs; signatures of real models stay below 20
    dimensions         as many as ONNX Runtime and torch support well
    id_characters      a UUID has 36; the id is echoed, so it is not free
    image_pixels       what an image file may declare before it is decoded
    inline_pixels      an image up to this size is decoded on the event loop (0.3 ms at most); a larger one in a thread
    waiting_images     large images that may wait for such a thread; one more is refused with 429
    """

    body_bytes: int = 32 * 1024 * 1024
    tensors: int = 64
    dimensions: int = 16
    id_characters: int = 256
    image_pixels: int = MAX_PIXELS
    inline_pixels: int = 256 * 256
    waiting_images: int = 32
