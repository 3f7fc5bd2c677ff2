"""ONNX files: the names of inputs and outputs are the signature's, whatever values inside the graph are called."""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export.onnx import OnnxExporter
from export.python_api import export_model
from models.repository import Repository
from tests.export import modules


class Namesake(nn.Module):
    """Inputs and outputs that are called as torch's exporter calls operators and weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.embeddings = nn.Embedding(5, 3)

    def forward(self, add: Tensor, linear: Tensor) -> dict[str, Tensor]:
        found = self.embeddings(add)
        return {"embedding": found + self.weight + linear, "weight": found * 2 + 1, "mul": linear * self.weight}


def test_an_output_may_be_called_as_an_operator_or_a_weight_is(tmp_path: Path) -> None:
    inputs = {"add": np.array([1, 2, 3, 4, 0]), "linear": modules.numbers(5, 3)}
    publication = export_model(Namesake(), inputs, name="namesake", repository=tmp_path, formats=modules.EQUAL)
    assert publication.passed
    version = Repository(tmp_path).open("namesake", 1)
    model = onnx.load(version.path / "model.onnx")
    assert [value.name for value in model.graph.input] == ["add", "linear"]
    assert [value.name for value in model.graph.output] == ["embedding", "weight", "mul"]


def test_the_file_says_nothing_of_this_machine(tmp_path: Path) -> None:
    OnnxExporter().export(modules.ranker(), tmp_path / "model.onnx")
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()
