import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import torch
from PIL import Image

from models.spec import ModelSpec
from tests.training import kinds, toys
from tests.training.test_findings import evaluated
from training import report_html

#: Elements that have no end.
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Follows a page's elements: all that is opened is closed, in order; what it would fetch is noted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe", "b", "i"}
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def pictures(page: Page, kind: str) -> list[bytes]:
    start = f"data:{kind};base64,"
    return [base64.b64decode(source.removeprefix(start)) for source in page.sources if source.startswith(start)]


@pytest.mark.parametrize(
    "spec", [toys.spec(), kinds.regression(), kinds.novelty(), kinds.language()], ids=lambda spec: spec.name
)
def test_a_page_is_whole_and_fetches_nothing(spec: ModelSpec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = report_html.to_bytes(evaluated(spec, tmp_path, spec.build(), spec.build())).decode()
    page = Page(text)
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in text
    assert "@import" not in text
    for drawing in pictures(page, "image/svg+xml"):
        Xml.fromstring(drawing)
    for picture in pictures(page, "image/png"):
        Image.open(io.BytesIO(picture)).load()


def test_words_of_data_and_labels_are_shown_as_they_are(tmp_path: Path) -> None:
    text = report_html.to_bytes(evaluated(kinds.language(), tmp_path, kinds.Letters())).decode()
    assert "&lt;script&gt;alert(" in text
    assert "&lt;b&gt;ant&lt;/b&gt;" in text
    shown = "".join(Page(text).texts)
    assert "<script>alert('ant')</script>" in shown
    assert "<b>ant</b>" in shown


def test_the_worst_mistakes_are_their_pictures(tmp_path: Path) -> None:
    found = evaluated(kinds.novelty(), tmp_path, kinds.Spread())
    page = Page(report_html.to_bytes(found).decode())
    split = kinds.images().test
    worst = [mistake.sample for kind in found.findings[0].mistakes for mistake in kind.worst]
    expected = [split[sample][0]["image"].numpy() for sample in worst]
    images = [np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures(page, "image/png")]
    np.testing.assert_array_equal(images, expected)


def test_the_verdict_and_the_notes_are_there(tmp_path: Path) -> None:
    found = evaluated(kinds.regression(), tmp_path, kinds.Price(80.0), kinds.Price(), data="8" * 64)
    shown = "".join(Page(report_html.to_bytes(found).decode()).texts)
    assert found.verdict is not None
    assert found.verdict in shown
    assert all(note in shown for note in found.notes)
    assert len(found.notes) == 2


def test_a_model_without_mistakes_says_so(tmp_path: Path) -> None:
    class Right(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.float().mean(2)[:, :3] ** 3

    shown = "".join(Page(report_html.to_bytes(evaluated(toys.spec(Right), tmp_path, Right())).decode()).texts)
    assert "wrong decisions, by how sure the model was: none" in " ".join(shown.split())
