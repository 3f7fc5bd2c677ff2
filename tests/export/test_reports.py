"""The reports that programs and browsers read, of one real export: a format that agrees and one that differs."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from PIL import Image

from export import report_html, report_json, report_junit
from export.attempt import FormatResult
from export.exporter import Run
from export.publish import Publication, publish
from export.subject import Subject, of_checkpoint
from export.torchscript import TorchScriptExporter
from models.repository import Repository
from models.tensors import Array, Signature, Tensors
from tests.export import checkpoints, modules

#: Of the toy's samples, the one whose answers are spoiled.
SPOILED = 3


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """Export in two formats, one of which answers one sample wrongly."""
    folder = tmp_path_factory.mktemp("spoiled")
    opened = TorchScriptExporter.open
    wrong = checkpoints.images()[SPOILED]

    def spoil(self: TorchScriptExporter, path: Path, signature: Signature) -> Run:
        run = opened(self, path, signature)

        def answer(inputs: Tensors) -> dict[str, Array]:
            outputs = run(inputs)
            rows = (inputs["image"] == wrong).all(axis=(1, 2))
            outputs["probabilities"][rows] = 0.5
            return outputs

        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchScriptExporter, "open", spoil)
        subject = of_checkpoint(checkpoints.spec(), checkpoints.save(folder / "checkpoint"))
        return publish(subject, Repository(folder / "models"), ["onnx", "torchscript"])


def cannot_open(name: str = "toy") -> Publication:
    """Return what came of an export of which one format cannot be opened, in words that no report can hold as they are."""
    source = modules.classifier()
    subject = Subject(name, source, None, "0" * 64, checkpoints.ORIGIN)
    return Publication(subject, (FormatResult("onnx", error="<b>bad</b> \x00 & \ud800 graph"),), None)


def test_json_tells_all_and_is_json_even_of_infinities(spoiled: Publication) -> None:
    facts = json.loads(report_json.to_bytes(spoiled))
    assert (facts["model"], facts["passed"], facts["published"]) == ("toy", False, None)
    onnx, torchscript = facts["formats"]
    assert (onnx["format"], onnx["passed"], torchscript["passed"]) == ("onnx", True, False)
    outputs = {output["output"]: output for output in torchscript["artifact"]["parity"]["outputs"]}
    assert outputs["probabilities"]["worst_sample"] == SPOILED
    assert not outputs["probabilities"]["passed"]
    assert outputs["class"]["passed"]
    counted = onnx["histograms"]["probabilities"]
    assert counted["equal"] + counted["infinite"] + sum(counted["counts"]) == 50 * 5 * 4  # samples, classes, batch sizes
    assert facts["environment"]["libraries"]["torch"]


def test_json_of_a_format_that_could_not_be_opened() -> None:
    (format,) = json.loads(report_json.to_bytes(cannot_open()))["formats"]
    assert (format["exported"], format["passed"]) == (True, False)


def test_junit_has_a_suite_for_each_format_and_a_case_for_each_output(spoiled: Publication) -> None:
    suites = Xml.fromstring(report_junit.to_bytes(spoiled))
    assert {name: suites.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "10", "failures": "1", "errors": "0",
    }  # fmt: skip
    onnx, torchscript = suites
    assert [case.get("name") for case in onnx] == [
        "probabilities", "class", "probabilities before softmax", "image at zeros", "image at largest",
    ]  # fmt: skip
    assert (onnx.get("name"), onnx.get("failures")) == ("toy.onnx", "0")
    (failed,) = [case for case in torchscript if case.find("failure") is not None]
    assert failed.get("name") == "probabilities"
    assert f"worst: sample {SPOILED}" in str(failed[0].get("message"))


def test_junit_calls_an_error_what_could_not_be_compared() -> None:
    suites = Xml.fromstring(report_junit.to_bytes(cannot_open()))
    assert (suites.get("errors"), suites.get("failures")) == ("1", "0")
    content = Xml.fromstring(report_junit.to_bytes(replace(cannot_open(), faults=("content: upside down",))))
    assert (content.get("errors"), content.get("failures")) == ("1", "1")
    assert suites[0][0][0].get("message") == "<b>bad</b> \ufffd & \ufffd graph"
    (suite,) = Xml.fromstring(report_junit.could_not_run("toy", "no checkpoint"))
    assert suite[0][0].get("message") == "no checkpoint"


class Sources(HTMLParser):
    """Notes all that a page would fetch, and the tags that are open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]
        assert tag != "script"


def test_the_page_shows_the_worst_sample_and_fetches_nothing(spoiled: Publication) -> None:
    page = report_html.to_bytes(spoiled).decode()
    sources = Sources()
    sources.feed(page)
    assert all(source.startswith("data:image/png;base64,") for source in sources.found)
    assert "url(" not in page
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) for source in sources.found]
    assert any(np.array_equal(picture, checkpoints.images()[SPOILED]) for picture in pictures)
    assert "nothing published" in page
    assert re.search(r'class="bad">DIFFERS', page)
    assert 'class="beyond"' in page


def test_the_page_escapes_what_it_is_told() -> None:
    page = report_html.to_bytes(cannot_open("toy")).decode(errors="replace")
    assert "&lt;b&gt;bad" in page
    assert "not checked here" in page


def test_a_dry_run_says_so(tmp_path: Path) -> None:
    subject = of_checkpoint(checkpoints.spec(), checkpoints.save(tmp_path / "checkpoint"))
    publication = publish(subject, Repository(tmp_path / "models"), ["onnx"], dry_run=True)
    assert "a dry run, nothing published" in report_html.to_bytes(publication, dry_run=True).decode()
    assert json.loads(report_json.to_bytes(publication, dry_run=True))["dry_run"] is True
