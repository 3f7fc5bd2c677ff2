import io
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.content import ImageContent
from models.repository import Repository
from serving.limits import Limits
from serving.protocols.route import Reply
from serving.protocols.waiting import Waiting
from tests import toys
from tests.serving import graphs
from tests.serving.desk import Desk, body_of, png
from tests.serving.protocols import pictures
from tests.serving.sessions import PATIENCE

PREDICT = "/predict/toy"


def form(file: bytes, *, boundary: str = "xyz") -> tuple[bytes, dict[str, str]]:
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head.encode() + file + f"\r\n--{boundary}--\r\n".encode(), {
        "content-type": f"multipart/form-data; boundary={boundary}"
    }


def test_a_png_is_answered_with_its_label_and_with_who_said_so(desk: Desk, toy_repository: Path) -> None:
    for pixels in toys.images(5):
        reply = desk.ask("POST", PREDICT, png(pixels))
        assert reply.status == 200
        body = body_of(reply)
        scores = toys.reference(pixels[np.newaxis])["probabilities"][0]
        assert body["label"] == toys.LABELS[int(scores.argmax())]
        assert body["score"] == pytest.approx(scores.max(), abs=1e-5)
        assert body["labels"] == pytest.approx(dict(zip(toys.LABELS, scores.tolist(), strict=True)), abs=1e-5)
        digest = Repository(toy_repository).open("toy", 1).digest
        assert (body["model"], body["version"], body["digest"]) == ("toy", "1", f"sha256:{digest}")
        assert dict(reply.headers)["sameway-version"] == f"toy/1 sha256:{digest}"
        assert "compute;dur=" in dict(reply.headers)["server-timing"]


def test_a_form_and_the_bare_file_get_the_same_answer(desk: Desk) -> None:
    file = png(toys.images(1)[0])
    bare, inside = desk.ask("POST", PREDICT, file), desk.ask("POST", PREDICT, *form(file))
    assert bare.status == inside.status == 200
    assert bare.body == inside.body


@pytest.mark.parametrize("content_type", ["", "image/png", "application/json", "text/html; charset=x", "multipart/mixed"])
def test_only_a_form_is_told_by_its_content_type(desk: Desk, content_type: str) -> None:
    reply = desk.ask("POST", PREDICT, png(toys.images(1)[0]), {"content-type": content_type})
    assert reply.status == 200


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_answered_as_its_pixels_are(desk: Desk, mode: str) -> None:
    file = pictures.jpeg(mode=mode)
    pixels = ImageContent("image", 4, 4, "L").read(file)["image"]
    body = body_of(desk.ask("POST", PREDICT, file))
    assert body["label"] == toys.LABELS[int(toys.reference(pixels)["class"][0])]


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "a GIF": b"GIF89a" + b"\0" * 100,
    "an SVG": b"<svg onload='x'/>",
    "a PNG's first bytes": pictures.PNG,
    "a PNG's header alone": pictures.png_of(4, 4)[:33],
    "a JPEG's first bytes": b"\xff\xd8\xff",
    "a truncated PNG": pictures.noise_png(64)[:-100],
    "a truncated JPEG": pictures.jpeg()[: len(pictures.jpeg()) // 2],
    "a bomb of 20,000 × 20,000": pictures.png_of(20_000, 20_000),
    "a bomb of 2**31 × 2**31": pictures.PNG + pictures.png_chunk(b"IHDR", b"\x7f\xff\xff\xff" * 2 + b"\x08\0\0\0\0"),
    "no width": pictures.png_of(0, 4),
    "a PNG with a wrong checksum": pictures.png_of(4, 4).replace(b"IHDR", b"IHDS"),
    "text chunks that inflate": pictures.png_of(
        4, 4, chunks=pictures.png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (2 << 20), 9))
    ),
    "a JPEG of 101 scans": pictures.jpeg_of_scans(101),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_image_or_too_much_of_one_is_refused_quickly(desk: Desk, case: str) -> None:
    began = time.process_time()
    reply = desk.ask("POST", PREDICT, HOSTILE[case])
    assert time.process_time() - began < 1.0
    body = body_of(reply)
    assert (reply.status, body["code"], body["field"]) == (400, "invalid_input", "image")
    assert body["expected"]
    assert body["found"]
    assert len(reply.body) < 500


@pytest.mark.parametrize(("scans", "status"), [(Limits().image_scans, 200), (Limits().image_scans + 1, 400)])
def test_the_limit_on_scans_is_exact(desk: Desk, scans: int, status: int) -> None:
    own = pictures.jpeg(progressive=True).count(b"\xff\xda")
    assert desk.ask("POST", PREDICT, pictures.jpeg_of_scans(scans - own)).status == status


@pytest.mark.parametrize("case", ["empty", "text", "a truncated PNG", "a bomb of 20,000 × 20,000"])
def test_inside_a_form_it_is_refused_just_so(desk: Desk, case: str) -> None:
    bare, inside = desk.ask("POST", PREDICT, HOSTILE[case]), desk.ask("POST", PREDICT, *form(HOSTILE[case]))
    assert (inside.status, inside.body) == (400, bare.body)


def test_a_form_without_a_file_is_malformed(desk: Desk) -> None:
    reply = desk.ask("POST", PREDICT, b"--xyz--\r\n", {"content-type": "multipart/form-data; boundary=xyz"})
    assert (reply.status, body_of(reply)["code"], body_of(reply)["field"]) == (400, "malformed_request", "body")


def test_an_unknown_model_is_404_and_one_without_content_says_where_to_send_tensors(tmp_path: Path) -> None:
    graphs.publish_lookup(tmp_path)
    desk = Desk(tmp_path)
    assert desk.ask("POST", "/predict/nobody", png(toys.images(1)[0])).status == 404
    reply = desk.ask("POST", "/predict/lookup", png(toys.images(1)[0]))
    assert (reply.status, body_of(reply)["code"]) == (400, "unsupported")
    assert "/v2/models/lookup/infer" in body_of(reply)["error"]
    desk.close()


class Decoder:
    """Stands for the decoding of images: tells in which thread it happens, and can be held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.opened.set()
        real = ImageContent.decode

        def decode(content: ImageContent, image: Image.Image) -> object:
            self.threads.append(threading.current_thread().name)
            self.entered.release()
            assert self.opened.wait(PATIENCE)
            return real(content, image)

        monkeypatch.setattr(ImageContent, "decode", decode)

    def hold(self) -> None:
        """Hold every decoding from now on, and forget those there were: opening a version decodes one image, too."""
        self.threads.clear()
        self.entered = threading.Semaphore(0)
        self.opened.clear()

    def holds(self, count: int) -> None:
        """Wait until so many decodings are held."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    decoder = Decoder(monkeypatch)
    yield decoder
    decoder.opened.set()


def padded(file: bytes, size: int) -> bytes:
    """Return the same picture in a file of at least that size."""
    return file[:33] + pictures.png_chunk(b"aaAa", b"\0" * size) + file[33:]


@pytest.mark.parametrize(
    ("file", "inline"),
    [
        (pictures.png_of(256, 256), True),
        (pictures.png_of(64, 4096), False),
        (padded(pictures.png_of(4, 4), 32 * 1024), False),
        (padded(pictures.png_of(4, 4), 31 * 1024), True),
    ],
    ids=["small", "many pixels", "a large file", "almost a large file"],
)
def test_what_may_take_long_is_decoded_in_a_thread_of_its_own(
    desk: Desk, decoder: Decoder, file: bytes, inline: bool
) -> None:
    assert desk.ask("POST", PREDICT, file).status in (200, 400)
    assert [name == threading.current_thread().name for name in decoder.threads] == [inline]


def test_a_large_image_gets_the_answer_of_its_pixels(desk: Desk) -> None:
    for side in (257, 300):
        file = pictures.noise_png(side)
        pixels = ImageContent("image", 4, 4, "L").read(file)["image"]
        body = body_of(desk.ask("POST", PREDICT, file))
        assert body["score"] == pytest.approx(float(toys.reference(pixels)["probabilities"].max()), abs=1e-5)


def test_when_too_many_large_images_wait_the_next_is_told_to_come_back(toy_repository: Path, decoder: Decoder) -> None:
    desk = Desk(toy_repository, limits=Limits(waiting_images=3))
    decoder.hold()
    file = pictures.noise_png(300)
    waiting = [desk.begin("POST", PREDICT, file) for _ in range(3)]
    decoder.holds(2)  # as many threads as there are
    refused = desk.ask("POST", PREDICT, file)
    assert (refused.status, body_of(refused)["code"], dict(refused.headers)["retry-after"]) == (429, "overloaded", "1")
    assert desk.ask("POST", PREDICT, b"no image").status == 400  # others go on meanwhile
    decoder.opened.set()
    assert [desk.end(answer).status for answer in waiting] == [200] * 3
    assert desk.ask("POST", PREDICT, file).status == 200
    desk.close()
    assert desk.value("sameway_in_flight") == 0


def test_a_client_that_leaves_while_its_image_waits_is_not_decoded_for(toy_repository: Path, decoder: Decoder) -> None:
    desk = Desk(toy_repository)
    decoder.hold()
    file = pictures.noise_png(300)
    first, second = (desk.begin("POST", PREDICT, file) for _ in range(2))
    decoder.holds(2)
    waits = desk.begin("POST", PREDICT, file)
    assert isinstance(waits, Waiting)
    waits.abandoned()
    assert isinstance(second, Waiting)
    second.abandoned()  # while it is being decoded
    decoder.opened.set()
    assert desk.end(first).status == 200
    assert desk.ask("POST", PREDICT, file).status == 200
    assert len(decoder.threads) == 3  # of the four images
    desk.close()
    assert desk.outcomes() == {("toy", "1", "ok", ""): 2, ("toy", "1", "cancelled", "cancelled"): 2}
    assert desk.value("sameway_in_flight") == 0


def test_errors_of_the_thread_reach_the_client(desk: Desk) -> None:
    for file, status in ((pictures.noise_png(300)[:-5_000], 400), (b"no image" * 10_000, 400)):
        reply = desk.ask("POST", PREDICT, file)
        assert (reply.status, body_of(reply)["field"]) == (status, "image")


def test_an_image_that_is_decoded_when_the_time_is_up_is_answered_504(tmp_path: Path, decoder: Decoder) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("timeout_seconds = 0.05")
    desk = Desk(tmp_path)
    decoder.hold()
    reply: Reply = desk.ask("POST", PREDICT, pictures.noise_png(300))
    assert (reply.status, body_of(reply)["code"]) == (504, "deadline_exceeded")
    decoder.opened.set()
    desk.close()
    assert desk.value("sameway_in_flight") == 0


def test_a_picture_turned_by_its_camera_is_answered_upright(desk: Desk) -> None:
    pixels = toys.images(1)[0]
    turned = Image.fromarray(np.rot90(pixels, 1).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    assert desk.ask("POST", PREDICT, file.getvalue()).body == desk.ask("POST", PREDICT, png(pixels)).body
