"""Content: what a person sends or reads where a program sends tensors. An image file in, a label out.

Training and serving both read images with this file, so a picture means the same tensor on both sides. A version's
content is data in its manifest; serving needs no code of the model to understand it.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from models import fields
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec

if TYPE_CHECKING:
    from PIL import Image

#: Pixels an image may declare before it is refused undecoded. 16 Mi pixels hold any photo of a phone at 4,096 × 4,096;
#: decoded as RGB they are 48 MiB, and up to 200 MiB while 16 bits or transparency are taken out of them, against a few
#: kilobytes that a hostile PNG of that size takes on the wire. Two are decoded at a time.
MAX_PIXELS = 16 * 1024 * 1024


class ContentError(ValueError):
    """Content could not be read: `field` names it, `expected` and `found` say why."""

    def __init__(self, field: str, *, expected: str, found: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found


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


@dataclass(frozen=True, slots=True)
class LabelContent:
    """A classifier's answer as words: `decision` (INT64 [N]) picks a label, `scores` (FP32 [N, labels]) weighs them all."""

    labels: tuple[str, ...]
    decision: str
    scores: str

    def write(self, outputs: Tensors) -> dict[str, object]:
        """Return label, score and all labels with their scores for the first row of the outputs.

        Scores stay numpy's float32: as Python floats they would be written with digits that they do not have.
        """
        scores = outputs[self.scores][0]
        decision = int(outputs[self.decision][0])
        if not 0 <= decision < len(self.labels) or not np.isfinite(scores).all():
            found = f"decision {decision} with scores {scores.tolist()}"
            raise ContentError(self.decision, expected=f"one of {len(self.labels)} labels, and finite scores", found=found)
        return {
            "label": self.labels[decision],
            "score": scores[decision],
            "labels": dict(zip(self.labels, scores, strict=True)),
        }

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        return {"kind": "label", "labels": list(self.labels), "decision": self.decision, "scores": self.scores}


@dataclass(frozen=True, slots=True)
class Content:
    """What people send to a model and what they read from it."""

    input: ImageContent
    output: LabelContent

    def to_json(self) -> dict[str, object]:
        """Return the content as JSON."""
        return {"input": self.input.to_json(), "output": self.output.to_json()}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless these are contents of that model."""
        if not signature.batched:
            raise SignatureError("max_batch_size", expected="a batch axis, as content is one row of it", found="0")
        image, label = self.input, self.output
        if len(set(label.labels)) != len(label.labels):
            raise SignatureError("content: labels", expected="labels that differ", found=str(list(label.labels)))
        if 0 in (image.width, image.height):
            found = f"{image.width} × {image.height}"
            raise SignatureError("content: image", expected="a width and a height of 1 or more", found=found)
        colours = () if image.mode == "L" else (3,)
        wanted = TensorSpec(image.tensor, "UINT8", (image.height, image.width, *colours))
        _expect(wanted, signature.input(image.tensor))
        _expect(TensorSpec(label.decision, "INT64", ()), signature.output(label.decision))
        _expect(TensorSpec(label.scores, "FP32", (len(label.labels),)), signature.output(label.scores))

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Content":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        return cls(_image(fields.record(json, "input")), _label(fields.record(json, "output")))


def _expect(wanted: TensorSpec, found: TensorSpec | None) -> None:
    if found != wanted:
        raise SignatureError(f"content: {wanted.name}", expected=str(wanted), found=str(found))


def _image(json: fields.Fields) -> ImageContent:
    if fields.text(json, "kind") != "image":
        raise fields.FieldError("kind", expected="'image'", found=json["kind"])
    mode = fields.text(json, "mode")
    if mode not in ("L", "RGB"):
        raise fields.FieldError("mode", expected="'L' or 'RGB'", found=mode)
    return ImageContent(
        tensor=fields.text(json, "tensor"),
        width=fields.count(json, "width"),
        height=fields.count(json, "height"),
        mode="L" if mode == "L" else "RGB",
    )


def _label(json: fields.Fields) -> LabelContent:
    if fields.text(json, "kind") != "label":
        raise fields.FieldError("kind", expected="'label'", found=json["kind"])
    return LabelContent(
        labels=fields.texts(json, "labels"),
        decision=fields.text(json, "decision"),
        scores=fields.text(json, "scores"),
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
