"""The program of `make gpu`, rehearsed on the CPU: that it finds what is right and what is not, and writes what it found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from proofs import gpu, gpu_models
from proofs.gpu_figures import Figure, table
from proofs.gpu_models import FORMATS, SMALL, Network
from proofs.verdict import table as verdict_table

#: A network of which nothing takes long.
TINY = Network("tiny", (1, 8, 8), (4,), rows=4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it would not be skipped")
def test_without_a_gpu_it_says_so_and_is_content(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cuda:0"]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED: device: expected 'cpu', found 'cuda:0': torch ")


def test_a_device_that_answers_rightly_keeps_every_promise(tmp_path: Path) -> None:
    gpu_models.publish(tmp_path, TINY)
    asked = gpu.Asked.of(TINY, 60)
    for format in FORMATS:
        verdicts = gpu.prove(tmp_path, asked, format, device="cpu")
        verdicts += gpu.prove_precisions(tmp_path, TINY, format, device="cpu", precisions=["bf16"])
        assert all(one.passed for one in verdicts), verdict_table(verdicts)


def test_a_row_that_gets_another_s_answer_is_found(tmp_path: Path) -> None:
    gpu_models.publish(tmp_path, TINY)
    asked = gpu.Asked.of(TINY, 20)
    scores = asked.wanted.scores.copy()
    scores[[3, 4]] = scores[[4, 3]]
    wrong = replace(asked, wanted=replace(asked.wanted, scores=scores))
    verdicts = gpu.prove(tmp_path, wrong, "torchscript", device="cpu")
    assert [one.name for one in verdicts if not one.passed] == ["tiny, torchscript: largest difference of a score"]


def test_a_precision_that_is_not_there_is_a_broken_promise(tmp_path: Path) -> None:
    gpu_models.publish(tmp_path, TINY)
    (verdict,) = gpu.prove_precisions(tmp_path, TINY, "torchscript", device="cpu", precisions=["tf32"])
    assert (verdict.passed, verdict.figure) == (False, "refused")
    assert "precision: expected one of fp16, bf16 on cpu" in verdict.bound


def test_what_is_found_is_written_for_programs_and_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SMALL", replace(TINY, name="small"))
    where = ["--json", str(tmp_path / "out" / "gpu.json"), "--markdown", str(tmp_path / "out" / "gpu.md")]
    few = ["--networks", "small", "--requests", "5", "--seconds", "0", "--rounds", "1"]
    assert gpu.main(["--device", "cpu", *few, *where]) == 0
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert report["machine"]["torch"] == torch.__version__
    assert {(one["format"], one["rows"]) for one in report["figures"]} == {
        (name, rows) for name in FORMATS for rows in (1, 2, 4)
    }
    assert all(one["rows_per_second"] > 0 for one in report["figures"])
    assert (tmp_path / "out" / "gpu.md").read_text().count("| small |") == len(report["figures"])


def test_a_gain_is_told_only_where_it_was_measured() -> None:
    figure = Figure("small", "torchscript", "exported", True, 8, 1000.0, 1500.0)
    lines = table([figure, replace(figure, overlapped=None, graphs=False)]).splitlines()
    assert lines[2:] == [
        "| small | torchscript | exported | yes | 8 | 1,000 | 1,500 | 1.50 |",
        "| small | torchscript | exported | no | 8 | 1,000 | – | – |",
    ]


def test_answers_of_the_networks_are_told_apart_and_decide_differently() -> None:
    wanted = gpu_models.reference(SMALL, SMALL.images(100, seed=3))
    assert wanted.alike == 0
    assert len(np.unique(wanted.classes)) >= 3
