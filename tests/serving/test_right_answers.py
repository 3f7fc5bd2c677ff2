"""A thousand images at once over real connections, in both formats: every answer is that very image's."""

import asyncio
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from models.tensors import Array
from tests import toys
from tests.serving.desk import infer_body, png
from tests.serving.live import Answer, LiveServer, request, serving

COUNT = 1_000
CONNECTIONS = 64


@pytest.fixture(scope="module", params=toys.FILES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp(request.param)
    toys.publish(root, formats=(request.param,))
    (root / "toy" / "config.toml").write_text("instances = 2\nqueue_rows = 1000")
    with serving(root) as live:
        yield live


async def ask_all(port: int, requests: list[bytes]) -> list[Answer]:
    """Send all requests over 64 connections, each with one request at a time; return the answers in the same order."""
    todo = iter(enumerate(requests))
    answers: dict[int, Answer] = {}

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, data in todo:
            writer.write(data)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            answers[number] = Answer(int(head[0].split(" ")[1]), headers, body)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return [answers[number] for number in range(len(requests))]


def gathered(server: LiveServer, requests: list[bytes]) -> list[Answer]:
    answers = asyncio.run(ask_all(server.port, requests))
    assert {answer.status for answer in answers} == {200}
    return answers


def agree(found: Array, pixels: Array) -> None:
    expected = toys.reference(pixels)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    # And the comparison can tell images apart: hardly two of them have the same answer.
    assert len(np.unique(expected.round(4), axis=0)) > 0.9 * len(expected)


def test_a_thousand_tensors_at_once_get_each_its_own_answer(server: LiveServer) -> None:
    pixels = toys.images(COUNT, seed=7)
    before = server.value("sameway_requests_total", outcome="ok")
    bodies = [infer_body(row[np.newaxis], id=str(number)) for number, row in enumerate(pixels)]
    answers = gathered(server, [request("POST", "/v2/models/toy/infer", body) for body in bodies])
    parsed = [answer.json() for answer in answers]
    assert [body["id"] for body in parsed] == [str(number) for number in range(COUNT)]
    agree(np.array([body["outputs"][0]["data"] for body in parsed]), pixels)
    assert [body["outputs"][1]["data"][0] for body in parsed] == toys.reference(pixels)["class"].tolist()
    assert server.value("sameway_requests_total", outcome="ok") == before + COUNT
    assert server.value("sameway_in_flight") == server.value("sameway_queue_rows", model="toy") == 0


def test_a_thousand_pictures_at_once_get_each_its_own_label(server: LiveServer) -> None:
    pixels = toys.images(COUNT, seed=8)
    answers = gathered(server, [request("POST", "/predict/toy", png(row)) for row in pixels])
    agree(np.array([[answer.json()["labels"][label] for label in toys.LABELS] for answer in answers]), pixels)
    digests = {answer.headers["sameway-version"] for answer in answers}
    assert len(digests) == 1


def test_requests_of_several_rows_keep_their_rows_together(server: LiveServer) -> None:
    pixels = toys.images(COUNT, seed=9)
    starts = np.cumsum([0, *(1 + number % 8 for number in range(200))])
    parts = [pixels[start:stop] for start, stop in itertools.pairwise(starts) if stop <= COUNT]
    answers = gathered(server, [request("POST", "/v2/models/toy/infer", infer_body(part)) for part in parts])
    found = [np.array(answer.json()["outputs"][0]["data"]).reshape(-1, 3) for answer in answers]
    assert [len(rows) for rows in found] == [len(part) for part in parts]
    agree(np.concatenate(found), np.concatenate(parts))


def test_batches_were_formed_and_lost_no_row(server: LiveServer) -> None:
    pixels = toys.images(COUNT, seed=10)
    rows, batches = server.value("sameway_batch_rows_sum"), server.value("sameway_batch_rows_count")
    gathered(server, [request("POST", "/v2/models/toy/infer", infer_body(row[np.newaxis])) for row in pixels])
    server.until(lambda: server.value("sameway_batch_rows_sum") == rows + COUNT, "counted")
    assert server.value("sameway_batch_rows_count") - batches < COUNT
