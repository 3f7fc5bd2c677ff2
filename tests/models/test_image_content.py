import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from models.content import Content, ContentError, ImageContent, LabelContent
from models.fields import FieldError
from models.tensors import Array, Signature, SignatureError, TensorSpec

GREY = ImageContent("image", width=4, height=3, mode="L")
COLOUR = ImageContent("image", width=4, height=3, mode="RGB")
LABELS = LabelContent(("ant", "bee"), decision="class", scores="scores")


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@given(arrays.arrays(np.uint8, (3, 4)))
def test_a_grey_png_comes_back_as_the_very_same_array(sample: Array) -> None:
    read = GREY.read(GREY.to_png(sample))
    assert list(read) == ["image"]
    assert read["image"].dtype == np.uint8
    assert np.array_equal(read["image"], sample[np.newaxis])


@given(arrays.arrays(np.uint8, (3, 4, 3)))
def test_a_colour_png_comes_back_as_the_very_same_array(sample: Array) -> None:
    assert np.array_equal(COLOUR.read(COLOUR.to_png(sample))["image"], sample[np.newaxis])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read(mode: str) -> None:
    image = Image.new("L", (4, 3), 200).convert(mode)
    read = GREY.read(encoded(image, "JPEG", quality=95))["image"]
    assert read.shape == (1, 3, 4)
    assert np.abs(read.astype(int) - 200).max() <= 2


def test_colours_become_grey_by_their_luminance() -> None:
    red = Image.new("RGB", (4, 3), (255, 0, 0))
    assert GREY.read(encoded(red))["image"].max() == 76  # ITU-R 601: 0.299 of 255


def test_another_size_is_fitted() -> None:
    half = np.zeros((30, 40), np.uint8)
    half[:, 20:] = 255
    read = GREY.read(encoded(Image.fromarray(half)))["image"][0]
    assert read.shape == (3, 4)
    assert (read[:, 0] == 0).all()
    assert (read[:, 3] == 255).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 255, 256, 32768], [65535, 511, 512, 1000], [1, 2, 3, 4]], np.uint16)
    read = GREY.read(encoded(Image.fromarray(deep)))["image"][0]
    assert np.array_equal(read, (deep >> 8).astype(np.uint8))


def test_a_single_bit_is_black_or_white() -> None:
    bits = png(4, 3, depth=1, colour=0, rows=b"\0\xa0" * 3)
    assert GREY.read(bits)["image"][0, 0].tolist() == [255, 0, 255, 0]


def test_a_palette_is_looked_up() -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert COLOUR.read(encoded(palette))["image"][0, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_black(mode: str) -> None:
    white = (255, 0) if mode == "LA" else (255, 255, 255, 0)
    clear = Image.new(mode, (4, 3), white)
    clear.putpixel((0, 0), (*white[:-1], 255))
    read = GREY.read(encoded(clear))["image"][0]
    assert read[0, 0] == 255
    assert read.sum() == 255


def test_a_transparent_palette_entry_is_black() -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    assert GREY.read(encoded(palette, transparency=1))["image"].max() == 0
    assert GREY.read(encoded(palette, transparency=bytes([255, 0])))["image"].max() == 0


def test_a_transparent_grey_is_black() -> None:
    grey = png(4, 3, depth=8, colour=0, rows=(b"\0" + b"\xff" * 4) * 3, extra=chunk(b"tRNS", b"\0\xff"))
    assert GREY.read(grey)["image"].max() == 0


def test_a_picture_is_turned_as_its_camera_says() -> None:
    sideways = np.zeros((4, 3), np.uint8)
    sideways[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the top left corner becomes the top right
    read = GREY.read(encoded(Image.fromarray(sideways), exif=exif.tobytes()))["image"][0]
    assert read[0, 3] == 255
    assert read.sum() == 255


def test_a_broken_exif_block_asks_for_nothing() -> None:
    image = Image.fromarray(np.full((3, 4), 9, np.uint8))
    assert GREY.read(encoded(image, exif=b"Exif\0\0II*\0junk"))["image"].max() == 9


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = png(20_000, 20_000, depth=8, colour=0, rows=bytes(1000))
    with pytest.raises(ContentError, match="image: expected at most 16,777,216 pixels, found 20000 × 20000 pixels"):
        GREY.read(bomb)


def test_the_limit_on_pixels_is_the_callers() -> None:
    data = GREY.to_png(np.zeros((3, 4), np.uint8))
    assert GREY.read(data, max_pixels=12)
    with pytest.raises(ContentError, match="at most 11 pixels, found 4 × 3 pixels"):
        GREY.read(data, max_pixels=11)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "an empty body"),
        (b"GIF89a\x01\0\x01\0", r"10 bytes that begin with b'GIF89a"),
        (b'{"inputs": []}', "14 bytes"),
        (b"\x89PNG\r\n\x1a\n", "a damaged header"),
        (b"\x89PNG\r\n\x1a\n" + b"junk" * 10, "a damaged header"),
        (b"\xff\xd8\xff", "a damaged header"),
        (b"\xff\xd8\xff" + bytes(100), "a damaged"),
    ],
)
def test_what_is_no_image_is_refused(body: bytes, found: str) -> None:
    with pytest.raises(ContentError, match=f"^image: expected a PNG or JPEG file, found .*{found}") as caught:
        GREY.read(body)
    assert caught.value.field == "image"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_truncated_file_is_refused(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    whole = encoded(Image.fromarray(noise), format)
    for length in range(8, len(whole) - 20, 97):
        with pytest.raises(ContentError, match="damaged"):
            GREY.read(whole[:length])


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(GREY.to_png(np.full((3, 4), 7, np.uint8)))
    data[data.index(b"IDAT") + 6] ^= 0xFF
    with pytest.raises(ContentError, match="damaged PNG file"):
        GREY.read(bytes(data))


@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(magic: bytes, rest: bytes) -> None:
    try:
        read = GREY.read(magic + rest)
    except ContentError:
        return
    assert read["image"].shape == (1, 3, 4)


@given(st.data())
def test_a_png_with_any_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(COLOUR.to_png(np.arange(36, dtype=np.uint8).reshape(3, 4, 3)))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = COLOUR.read(bytes(body))
    except ContentError:
        return
    assert read["image"].shape == (1, 3, 4, 3)


def test_an_answer_names_label_score_and_all_labels() -> None:
    outputs = {"class": np.array([1, 0]), "scores": np.array([[0.25, 0.75], [1, 0]], np.float32)}
    assert LABELS.write(outputs) == {"label": "bee", "score": 0.75, "labels": {"ant": 0.25, "bee": 0.75}}


def test_json_round_trip() -> None:
    for image in (GREY, COLOUR):
        content = Content(image, LABELS)
        assert Content.from_json(content.to_json()) == content


@pytest.mark.parametrize(
    ("side", "key", "value"),
    [
        ("input", "kind", "sound"),
        ("input", "mode", "P"),
        ("input", "width", -1),
        ("input", "height", "28"),
        ("input", "tensor", None),
        ("output", "kind", "image"),
        ("output", "labels", "ab"),
        ("output", "decision", 1),
        ("output", "scores", []),
    ],
)
def test_malformed_json_is_refused(side: str, key: str, value: object) -> None:
    described = Content(GREY, LABELS).to_json()
    part = described[side]
    assert isinstance(part, dict)
    part[key] = value
    with pytest.raises(FieldError) as caught:
        Content.from_json(described)
    assert caught.value.field == key


def test_content_fits_its_signature() -> None:
    outputs = (TensorSpec("scores", "FP32", (2,)), TensorSpec("class", "INT64", ()))
    grey = Signature((TensorSpec("image", "UINT8", (3, 4)),), outputs, 8)
    colour = Signature((TensorSpec("image", "UINT8", (3, 4, 3)),), outputs, 8)
    Content(GREY, LABELS).check(grey)
    Content(COLOUR, LABELS).check(colour)
    with pytest.raises(SignatureError, match="content: image"):
        Content(COLOUR, LABELS).check(grey)
    with pytest.raises(SignatureError, match="content: scores"):
        Content(GREY, LabelContent(("a", "b", "c"), "class", "scores")).check(grey)
    with pytest.raises(SignatureError, match="content: scores"):
        Content(GREY, LabelContent(("a", "b"), "scores", "class")).check(Signature(grey.inputs, outputs[1:], 8))
    with pytest.raises(SignatureError, match="content: klass"):
        Content(GREY, LabelContent(("a", "b"), "klass", "scores")).check(grey)
    with pytest.raises(SignatureError, match="content: labels: expected labels that differ"):
        Content(GREY, LabelContent(("a", "a"), "class", "scores")).check(grey)
    with pytest.raises(SignatureError, match="max_batch_size: expected a batch axis"):
        Content(GREY, LABELS).check(Signature(grey.inputs, outputs, 0))
    flat = Content(ImageContent("image", width=0, height=3, mode="L"), LABELS)
    with pytest.raises(SignatureError, match="content: image: expected a width and a height of 1 or more"):
        flat.check(Signature((TensorSpec("image", "UINT8", (3, 0)),), outputs, 8))


@pytest.mark.parametrize("decision", [-1, 2, 2**40])
def test_a_decision_that_is_no_label_is_no_answer(decision: int) -> None:
    scores = np.array([[0.5, 0.5]], np.float32)
    with pytest.raises(ContentError):
        LABELS.write({"class": np.array([decision]), "scores": scores})


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_no_answer(score: float) -> None:
    with pytest.raises(ContentError):
        LABELS.write({"class": np.array([0]), "scores": np.array([[score, 0.5]], np.float32)})
