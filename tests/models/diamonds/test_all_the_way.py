"""Training, three formats with proof, and the answers of a server: all of it for one network, of a few epochs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.publish import publish
from export.subject import of_checkpoint
from models.diamonds import SPEC
from models.diamonds.model import MOST
from models.repository import Repository
from models.tensors import Array, Tensors, rows_of
from tests.serving.desk import Desk, body_of
from training import checkpoint
from training.train import Trained, train

# Each piece of this way has a shorter test; this one trains a real network for it.
pytestmark = pytest.mark.long

#: Eight and sixteen bits take as long again; what the card says of them is what an export has found.
FORMATS = ("onnx", "torchscript", "exported_program")


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(SPEC, replace(SPEC.recipe, epochs=3), device="cpu")


@pytest.fixture(scope="module")
def root(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diamonds")
    saved = checkpoint.save(trained.network, trained.origin, folder / "checkpoint")
    publication = publish(of_checkpoint(SPEC, saved), Repository(folder / "models"), FORMATS)
    assert publication.version is not None, [result.error for result in publication.results]
    return folder / "models"


@pytest.fixture(params=FORMATS)
def desk(root: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Give a server of each format in turn."""
    format: str = request.param
    (root / SPEC.name / "config.toml").write_text(f'format = "{format}"\n')
    desk = Desk(root)
    try:
        yield desk
    finally:
        desk.close()


def eager(trained: Trained, inputs: Tensors) -> Array:
    with torch.inference_mode():
        (price,) = SPEC.serving_module(trained.network)(*(torch.from_numpy(inputs[name]) for name in ("numbers", "grades")))
    return np.asarray(price.numpy())


def infer(desk: Desk, inputs: Tensors) -> Any:  # JSON is not typed
    kinds = {"numbers": "FP32", "grades": "INT64"}
    tensors = [
        {"name": name, "datatype": kinds[name], "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in inputs.items()
    ]
    return body_of(desk.ask("POST", f"/v2/models/{SPEC.name}/infer", json.dumps({"inputs": tensors}).encode()))


def test_a_few_epochs_price_better_than_linear_regression(trained: Trained) -> None:
    score = trained.scores["rmse"]
    assert score.samples == 10_576
    assert score.unit == "USD"
    assert score.value < 700  # of logarithms 829, the power of the weight alone 1,686; these three epochs 572
    assert trained.scores["r2"].value > 0.97


def test_a_server_answers_tensors_as_the_network_does(trained: Trained, desk: Desk) -> None:
    inputs = SPEC.samples(64, None)
    (output,) = infer(desk, inputs)["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("price", "FP32", [64])
    np.testing.assert_allclose(output["data"], eager(trained, inputs), rtol=1e-4)


def test_a_server_answers_a_record_as_the_network_does(trained: Trained, desk: Desk) -> None:
    inputs = SPEC.samples(5, None)
    prices = eager(trained, inputs)
    for row in range(5):
        record = SPEC.content.input.write(rows_of(inputs, row, row + 1))
        told = body_of(desk.ask("POST", f"/predict/{SPEC.name}", record))
        assert told["value"] == pytest.approx(float(prices[row]), rel=1e-4)
        assert told["unit"] == "USD"


def test_a_record_that_is_no_stone_is_named(desk: Desk) -> None:
    stone = json.loads(SPEC.content.input.write(SPEC.samples(1, None)))
    assert set(stone) == {"carat", "depth", "table", "x", "y", "z", "cut", "color", "clarity"}
    for field, value in (("cut", "Superb"), ("carat", "heavy"), ("carat", None)):
        reply = desk.ask("POST", f"/predict/{SPEC.name}", json.dumps({**stone, field: value}).encode())
        assert reply.status == 400
        assert body_of(reply)["field"] == field
    dearest = {**stone, "carat": 5, "cut": "Ideal", "color": "D", "clarity": "IF", "x": 11, "y": 11, "z": 6.8}
    assert body_of(desk.ask("POST", f"/predict/{SPEC.name}", json.dumps(dearest).encode()))["value"] <= MOST
    # Whatever the numbers are, there is a price: who sends nonsense causes no error of the server's.
    absurd = {**stone, "carat": 0, "depth": -1e38, "table": 1e38, "x": -5, "y": 1e-40}
    assert body_of(desk.ask("POST", f"/predict/{SPEC.name}", json.dumps(absurd).encode()))["value"] > 0
