import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.content import Content, ContentError, TextContent, ValueContent
from models.tensors import Signature, SignatureError, TensorSpec

TEXT = TextContent("text", most_bytes=40, pad_to=8)


def test_a_text_is_its_bytes_filled_up_with_zeros() -> None:
    read = TEXT.read("für elf".encode())["text"]
    assert read.dtype == np.uint8
    assert read.tolist() == [[*"für elf".encode()]]  # eight bytes
    assert TEXT.read(b"nine byte")["text"].tolist() == [[*b"nine byte", *[0] * 7]]


@given(st.text(min_size=1, max_size=10))
def test_any_text_is_read_and_written_back_or_refused(text: str) -> None:
    try:
        data = text.encode()
        row = TEXT.read(data)
    except (ContentError, UnicodeEncodeError):
        assert "\0" in text or not text.encode(errors="replace").strip() or any(0xD800 <= ord(one) <= 0xDFFF for one in text)
        return
    assert TEXT.write(row) == data
    assert TEXT.restores(row)
    further = {"text": np.concatenate([row["text"], np.zeros((1, 16), np.uint8)], axis=1)}
    assert TEXT.restores(further)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "expected a text, found an empty body"),
        (b" \n ", "expected a text, found 3 bytes of nothing"),
        (b"x" * 41, "expected at most 40 bytes, found 41"),
        (b"caf\xe9 au lait", "expected UTF-8, found invalid continuation byte at byte 3"),
        (b"a\0b", "expected no zero byte, found one at byte 1"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(ContentError, match=found):
        TEXT.read(data)


def test_a_row_with_zeros_inside_is_no_text() -> None:
    with pytest.raises(ContentError):
        TEXT.restores({"text": np.array([[97, 0, 98]], np.uint8)})


def test_json_and_signature() -> None:
    content = Content(TEXT, ValueContent("score", "points"))
    assert Content.from_json(content.to_json()) == content
    score = (TensorSpec("score", "FP32", ()),)
    content.check(Signature((TensorSpec("text", "UINT8", (None,)),), score, 8))
    with pytest.raises(SignatureError, match="content: text"):
        content.check(Signature((TensorSpec("text", "UINT8", (40,)),), score, 8))
    with pytest.raises(SignatureError, match="content: input: expected the inputs text, which it fills, found 'more'"):
        content.check(Signature((TensorSpec("text", "UINT8", (None,)), TensorSpec("more", "FP32", ())), score, 8))
    with pytest.raises(SignatureError, match="pad_to"):
        Content(TextContent("text", 4, 8), content.output).check(
            Signature((TensorSpec("text", "UINT8", (None,)),), score, 8)
        )
