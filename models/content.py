"""Content: what a person sends or reads where a program sends tensors. Image, text or record in; label or value out.

Training and serving both read content with these files, so a picture or a word means the same tensor on both sides. A
version's content is data in its manifest; serving needs no code of the model to understand it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from models import fields
from models.answer_content import LabelContent as LabelContent
from models.answer_content import ValueContent as ValueContent
from models.content_error import ContentError as ContentError
from models.image_content import MAX_PIXELS as MAX_PIXELS
from models.image_content import ImageContent as ImageContent
from models.image_content import open_image as open_image
from models.record_content import RecordContent as RecordContent
from models.record_content import RecordField as RecordField
from models.tensors import Signature, SignatureError
from models.text_content import TextContent as TextContent

InputContent: TypeAlias = ImageContent | TextContent | RecordContent
OutputContent: TypeAlias = LabelContent | ValueContent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """What people send to a model and what they read from it."""

    input: InputContent
    output: OutputContent

    def to_json(self) -> dict[str, object]:
        """Return the content as JSON."""
        return {"input": self.input.to_json(), "output": self.output.to_json()}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless these are contents of that model, and the input fills every tensor it takes."""
        if not signature.batched:
            raise SignatureError("max_batch_size", expected="a batch axis, as content is one row of it", found="0")
        self.input.check(signature)
        unfilled = [spec.name for spec in signature.inputs if spec.name not in self.input.tensors]
        if unfilled:
            expected = f"the inputs {', '.join(self.input.tensors)}, which it fills"
            raise SignatureError("content: input", expected=expected, found=f"{unfilled[0]!r} besides")
        self.output.check(signature)

    @classmethod
    def from_json(cls, json: fields.Fields) -> "Content":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        sent, told = fields.record(json, "input"), fields.record(json, "output")
        return cls(_reader(_INPUTS, sent)(sent), _reader(_OUTPUTS, told)(told))


_INPUTS: dict[str, Callable[[fields.Fields], InputContent]] = {
    "image": ImageContent.from_json,
    "text": TextContent.from_json,
    "record": RecordContent.from_json,
}
_OUTPUTS: dict[str, Callable[[fields.Fields], OutputContent]] = {
    "label": LabelContent.from_json,
    "value": ValueContent.from_json,
}


def _reader(kinds: dict[str, T], json: fields.Fields) -> T:
    kind = fields.text(json, "kind")
    if kind not in kinds:
        raise fields.FieldError("kind", expected=" or ".join(map(repr, kinds)), found=kind)
    return kinds[kind]
