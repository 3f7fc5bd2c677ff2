"""Texts as content: UTF-8 in, one row of bytes out. Without a tokenizer, none can differ between training and serving."""

from dataclasses import dataclass

import numpy as np

from models import fields
from models.content_error import ContentError
from models.tensors import Array, Signature, SignatureError, Tensors, TensorSpec, expect

#: What fills a row up to its length: no text holds it, and the network must not see it.
PADDING = 0


@dataclass(frozen=True, slots=True)
class TextContent:
    """A text as one row of the input `tensor`, UINT8 [1, T]: its UTF-8 bytes, filled up with zeros.

    T is the next multiple of `pad_to`, so that texts of like length can share a batch. A text has at most `most_bytes`.
    """

    tensor: str
    most_bytes: int
    pad_to: int

    @property
    def tensors(self) -> tuple[str, ...]:
        """The inputs of the signature that a text fills."""
        return (self.tensor,)

    def read(self, data: bytes) -> dict[str, Array]:
        """Turn UTF-8 into one row; raise ContentError for an empty text, one too long, one that is none."""
        if not data.strip():
            raise ContentError("text", expected="a text", found=f"{len(data)} bytes of nothing" if data else "an empty body")
        if len(data) > self.most_bytes:
            raise ContentError("text", expected=f"at most {self.most_bytes:,} bytes", found=f"{len(data):,}")
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise ContentError("text", expected="UTF-8", found=f"{error.reason} at byte {error.start}") from None
        if PADDING in data:
            raise ContentError("text", expected="no zero byte", found=f"one at byte {data.index(PADDING)}")
        return {self.tensor: self.to_array(data)[np.newaxis]}

    def to_array(self, text: bytes) -> Array:
        """Return UTF-8 as one sample, UINT8 [T] without a batch axis; the text is not looked at."""
        row = np.full(-(-len(text) // self.pad_to) * self.pad_to, PADDING, np.uint8)
        row[: len(text)] = np.frombuffer(text, np.uint8)
        return row

    def write(self, row: Tensors) -> bytes:
        """Return one row of the inputs as a person would send it."""
        padded: bytes = row[self.tensor][0].tobytes()
        return padded.rstrip(bytes([PADDING]))

    def restores(self, row: Tensors) -> bool:
        """Tell whether one row, written and read again, has the same bytes; a row may have been padded further."""
        found, sample = self.read(self.write(row))[self.tensor][0], row[self.tensor][0]
        length = min(len(found), len(sample))
        same = np.array_equal(found[:length], sample[:length])
        return same and not found[length:].any() and not sample[length:].any()

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        return {"kind": "text", "tensor": self.tensor, "most_bytes": self.most_bytes, "pad_to": self.pad_to}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless this is an input of that model."""
        if not 1 <= self.pad_to <= self.most_bytes:
            found = f"{self.pad_to} and {self.most_bytes}"
            raise SignatureError("content: text", expected="pad_to of 1 or more, and not above most_bytes", found=found)
        expect("content", TensorSpec(self.tensor, "UINT8", (None,)), signature.input(self.tensor))

    @classmethod
    def from_json(cls, json: fields.Fields) -> "TextContent":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        return cls(fields.text(json, "tensor"), fields.count(json, "most_bytes"), fields.count(json, "pad_to"))
