import io
import json

import numpy as np
from PIL import Image

from models.content import Content, ImageContent, TextContent, ValueContent
from tests.training import kinds
from training.shown import Shown, shown

ANSWER = ValueContent("value", "")


def test_an_image_is_its_picture() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    found = shown(Content(ImageContent("image", 4, 4, "L"), ANSWER), {"image": pixels})
    assert found.picture is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.picture))), pixels[0])
    assert found.text == ""


def test_a_record_is_its_fields() -> None:
    found = shown(kinds.regression().content, {"numbers": np.array([[0.3]], np.float32), "kinds": np.array([[1]])})
    assert found.picture is None
    assert json.loads(found.text) == {"carat": 0.3, "colour": "E"}


def test_a_category_without_a_name_does_not_end_the_report() -> None:
    found = shown(kinds.regression().content, {"numbers": np.array([[0.3]], np.float32), "kinds": np.array([[9]])})
    assert found.text.startswith("cannot be shown: ")


def test_a_text_is_itself_and_a_long_one_is_cut() -> None:
    content = Content(TextContent("text", 1024, 8), ANSWER)
    row = np.frombuffer("grüße\0\0".encode(), np.uint8)[np.newaxis]
    assert shown(content, {"text": row}) == Shown(None, "grüße")
    long = shown(content, {"text": np.full((1, 900), ord("a"), np.uint8)}).text
    assert long == "a" * 400 + "…"
