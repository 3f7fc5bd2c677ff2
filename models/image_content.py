"""Images as content: a PNG or JPEG file in, one row of pixels out."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from models import fields
from models.content_error import ContentError
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec, expect

if TYPE_CHECKING:
    from PIL import Image

#: Pixels an image may declare before it is refused undecoded. 16 Mi pixels hold any photo of a phone at 4,096 × 4,096;
#: decoded as RGB they are 48 MiB, and up to 200 MiB while 16 bits or transparency are taken out of them, against a few
#: kilobytes that a hostile PNG of that size takes on the wire. Two are decoded at a time.
MAX_PIXELS = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageContent:
    """An image file as one row of the input `tensor`: UINT8 [1, height, width] for mode L, [1, height, width, 3] for RGB."""

    tensor: str
    width: int
    height: int
    mode: Literal["L", "RGB"]

    def read(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> dict[str, Array]:
        """Decode a PNG or JPEG and fit it to the declared size and mode; raise ContentError where it is none.

        The picture is turned as its EXIF orientation says, laid on black where it is transparent, and resized
        (bilinear, the aspect not kept) only if its size differs.
        """
        return self.decode(open_image(data, max_pixels=max_pixels))

    def decode(self, image: "Image.Image") -> dict[str, Array]:
        """Do the second, expensive half of `read`: decode the pixels of an image that `open_image` has opened."""
        try:
            image.load()
        except Exception as error:
            found = f"a damaged {image.format} file"
            raise ContentError("image", expected="a whole PNG or JPEG file", found=found) from error
        return {self.tensor: self.to_array(_upright(image))[np.newaxis]}

    def to_array(self, image: "Image.Image") -> Array:
        """Return the decoded picture as one sample, UINT8 without a batch axis."""
        from PIL import Image

        flat = _opaque(image).convert(self.mode)
        if flat.size != (self.width, self.height):
            flat = flat.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(flat, dtype=np.uint8)

    def to_png(self, sample: Array) -> bytes:
        """Return one sample (UINT8, without batch axis) as a PNG file, which `read` turns back into the very same array."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(sample, dtype=np.uint8)).save(file, format="PNG")
        return file.getvalue()

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        return {"kind": "image", "tensor": self.tensor, "width": self.width, "height": self.height, "mode": self.mode}

    @property
    def tensors(self) -> tuple[str, ...]:
        """The inputs of the signature that an image fills."""
        return (self.tensor,)

    def write(self, row: Tensors) -> bytes:
        """Return one row of the inputs as a person would send it."""
        return self.to_png(row[self.tensor][0])

    def restores(self, row: Tensors) -> bool:
        """Tell whether one row of the inputs, written and read again, is the same row."""
        return np.array_equal(self.read(self.write(row))[self.tensor], row[self.tensor])

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless this is an input of that model."""
        if 0 in (self.width, self.height):
            found = f"{self.width} × {self.height}"
            raise SignatureError("content: image", expected="a width and a height of 1 or more", found=found)
        colours = () if self.mode == "L" else (3,)
        expect(
            "content", TensorSpec(self.tensor, "UINT8", (self.height, self.width, *colours)), signature.input(self.tensor)
        )

    @classmethod
    def from_json(cls, json: fields.Fields) -> "ImageContent":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        mode = fields.text(json, "mode")
        if mode not in ("L", "RGB"):
            raise fields.FieldError("mode", expected="'L' or 'RGB'", found=mode)
        return cls(
            tensor=fields.text(json, "tensor"),
            width=fields.count(json, "width"),
            height=fields.count(json, "height"),
            mode="L" if mode == "L" else "RGB",
        )


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> "Image.Image":
    """Read an image file's header, nothing more; raise ContentError unless it declares at most `max_pixels`.

    The two decoders a stranger's bytes may reach are opened directly, not through `Image.open`: that would try forty,
    and its own limit on pixels is a process-wide setting which only warns. What a decoder raises depends on the bytes,
    so everything is caught.
    """
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    head = bytes(data[:8])
    decoders = {b"\x89PNG\r\n\x1a\n": PngImageFile, b"\xff\xd8\xff": JpegImageFile}
    decoder = next((decoder for magic, decoder in decoders.items() if head.startswith(magic)), None)
    if decoder is None:
        found = f"{len(data):,} bytes that begin with {head!r}" if data else "an empty body"
        raise ContentError("image", expected="a PNG or JPEG file", found=found)
    try:
        image: Image.Image = decoder(io.BytesIO(data))
    except Exception as error:
        raise ContentError("image", expected="a PNG or JPEG file", found="one with a damaged header") from error
    if image.width * image.height > max_pixels:
        found = f"{image.width} × {image.height} pixels"
        raise ContentError("image", expected=f"at most {max_pixels:,} pixels", found=found)
    return image


def _upright(image: "Image.Image") -> "Image.Image":
    """Return the picture turned as a camera's EXIF orientation asks; a broken EXIF block asks for nothing."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - EXIF is a stranger's bytes too, and the pixels are fine without it
        return image


def _opaque(image: "Image.Image") -> "Image.Image":
    """Return the picture with 8 bits a channel and no transparency: laid on black, as a missing stroke is black."""
    from PIL import Image

    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion to L clips everything above 255 to white instead of scaling.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        solid = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", solid.size, (0, 0, 0, 255)), solid)
    return image
