from pathlib import Path

import pytest
from PIL.Image import Image

from models.content import open_image
from serving.engine.answer import Answer
from serving.engine.base import ModelMetadata
from serving.engine.served import ServedVersion
from serving.errors import ModelNotFound
from serving.protocols import predict
from serving.protocols.current import on_current
from serving.protocols.waiting import Waiting
from serving.request import InferRequest, InferResponse
from tests import toys
from tests.serving.desk import Desk, body_of, png
from tests.serving.protocols.pictures import noise_png
from tests.serving.sessions import PATIENCE


@pytest.fixture
def desk(tmp_path: Path):  # type: ignore[no-untyped-def]  # a generator of a Desk
    toys.publish(tmp_path, seed=0)
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def swap(desk: Desk, root: Path, seed: int) -> None:
    toys.publish(root, seed=seed)
    desk.engine.management.load("toy").result(PATIENCE)


def test_who_is_overtaken_by_swaps_asks_the_version_that_is_served_then(desk: Desk, tmp_path: Path) -> None:
    asked: list[int] = []

    def attempt(metadata: ModelMetadata) -> str:
        asked.append(metadata.version)
        if metadata.version < 3:
            swap(desk, tmp_path, metadata.version)
            raise ModelNotFound("swapped")
        return "answer"

    assert on_current(desk.engine, "toy", None, attempt) == "answer"
    assert asked == [1, 2, 3]


def test_an_error_that_no_swap_explains_is_an_error(desk: Desk) -> None:
    def attempt(_: ModelMetadata) -> str:
        raise ModelNotFound("no")

    with pytest.raises(ModelNotFound, match="no"):
        on_current(desk.engine, "toy", None, attempt)


def test_a_large_image_whose_model_is_swapped_while_it_is_decoded_is_answered_by_the_new_version(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(data: bytes, *, max_pixels: int) -> Image:
        swap(desk, tmp_path, 1)
        return open_image(data, max_pixels=max_pixels)

    monkeypatch.setattr(predict, "open_image", overtaken)
    waiting = desk.begin("POST", "/predict/toy", noise_png(400))
    assert isinstance(waiting, Waiting)
    reply = desk.end(waiting)
    assert (reply.status, body_of(reply)["version"]) == (200, "2")


def test_a_version_opened_anew_for_its_configuration_between_two_instructions_refuses_nobody(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ServedVersion.submit
    asked: list[ServedVersion] = []

    def overtaken(self: ServedVersion, request: InferRequest) -> "Answer[InferResponse]":
        asked.append(self)
        if len(asked) == 1:
            (tmp_path / "toy" / "config.toml").write_text("timeout_seconds = 5")
            desk.engine.management.load("toy").result(PATIENCE)
        return submit(self, request)

    monkeypatch.setattr(ServedVersion, "submit", overtaken)
    reply = desk.ask("POST", "/predict/toy", png(toys.images(1)[0]))
    assert (reply.status, body_of(reply)["version"]) == (200, "1")
    assert len(set(asked)) == 2
