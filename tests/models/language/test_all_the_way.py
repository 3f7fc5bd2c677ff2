"""Training, three formats with proof, and the answers of a server: all of it for one network, of a part of the texts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from export.publish import publish
from export.subject import of_checkpoint
from models.language import SPEC, data
from models.repository import Repository
from models.spec import ModelSpec
from models.tensors import Array
from tests.serving.desk import Desk, body_of
from training import checkpoint
from training.train import Trained, train

# Each piece of this way has a shorter test; this one trains a real network for it.
pytestmark = pytest.mark.long

FORMATS = ("onnx", "torchscript", "exported_program")

#: Texts that were not drawn, of lengths that no split has: all their letters and signs are a person's.
SENTENCES = {
    "en": "Where there's a will, there's a way!",
    "de": "Übung macht den Meister.",
    "fr": "L\u2019habit ne fait pas le moine …",
    "pl": "Gdzie kucharek sześć, tam nie ma co jeść.",
    "fi": "OPPIA IKÄ KAIKKI",
    "hu": "Addig nyújtózkodj, amíg a takaród ér. " * 8,
}


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The model with a part of its texts, which are drawn once."""
    given = data.datasets()
    few = replace(given, train=Subset(given.train, range(16_000)), test=Subset(given.test, range(3200)))
    rows = data.texts_of(given.test).letters.numpy()
    return replace(SPEC, datasets=lambda data_dir: few, samples=lambda count, data_dir: {"text": rows[:count]})


@pytest.fixture(scope="module")
def trained(spec: ModelSpec) -> Trained:
    return train(spec, replace(SPEC.recipe, epochs=2, batch_size=512), device="cpu")


@pytest.fixture(scope="module")
def root(spec: ModelSpec, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    saved = checkpoint.save(trained.network, trained.origin, folder / "checkpoint")
    publication = publish(of_checkpoint(spec, saved), Repository(folder / "models"), FORMATS)
    assert publication.version is not None, [result.error for result in publication.results]
    return folder / "models"


def eager(trained: Trained, texts: Array) -> tuple[Array, Array]:
    with torch.inference_mode():
        probabilities, language = SPEC.serving_module(trained.network)(torch.from_numpy(texts))
    return probabilities.numpy(), language.numpy()


def test_a_part_of_the_texts_teaches_most_of_it(trained: Trained) -> None:
    assert trained.scores["accuracy"].value > 0.75


@pytest.mark.parametrize("format", FORMATS)
def test_a_server_answers_what_the_network_says(spec: ModelSpec, trained: Trained, root: Path, format: str) -> None:
    (root / SPEC.name / "config.toml").write_text(f'format = "{format}"\n')
    texts = spec.samples(5, None)["text"]
    probabilities, language = eager(trained, texts)
    tensor = {"name": "text", "datatype": "UINT8", "shape": list(texts.shape), "data": texts.ravel().tolist()}
    desk = Desk(root)
    try:
        reply = body_of(desk.ask("POST", f"/v2/models/{SPEC.name}/infer", json.dumps({"inputs": [tensor]}).encode()))
        found = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in reply["outputs"]}
        np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
        np.testing.assert_array_equal(found["language"], language)
        for text in SENTENCES.values():
            file = text.encode()
            expected, decided = eager(trained, np.frombuffer(file, np.uint8)[np.newaxis].copy())
            told = body_of(desk.ask("POST", f"/predict/{SPEC.name}", file, {"Content-Type": "text/plain"}))
            assert told["label"] == data.LANGUAGES[int(decided[0])]
            assert told["score"] == pytest.approx(float(expected.max()), abs=1e-5)
    finally:
        desk.close()


def test_sentences_with_capitals_and_signs_are_told(trained: Trained) -> None:
    for language, text in SENTENCES.items():
        _, decided = eager(trained, np.frombuffer(text.encode(), np.uint8)[np.newaxis].copy())
        assert data.LANGUAGES[int(decided[0])] == language, text
