"""tritonclient.http.aio: the same server to a client that sends other headers, and many requests at once."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.conformance.samples import BYTES_ONLY, IMAGES, LABELS, SAMPLES, same
from tests.conformance.servers import Server

# Any: tritonclient has no types.
Conversation = Callable[[Any], Awaitable[None]]


def _converse(server: Server, conversation: Conversation) -> None:
    """Hold a conversation with a server on one client."""

    async def run() -> None:
        async with InferenceServerClient(server.authority) as client:
            await conversation(client)

    with warnings.catch_warnings():
        # The client leaves the connections of its health questions to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(run())
        gc.collect()


def _input(datatype: str, array: Any, *, binary: bool = True) -> InferInput:
    return InferInput("x", list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def test_health_and_metadata(zoo_server: Server) -> None:
    async def conversation(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("toy", "1")
        assert not await client.is_model_ready("absent")
        assert not await client.is_model_ready("nobody")
        assert (await client.get_server_metadata())["name"] == "sameway"
        assert (await client.get_model_metadata("toy"))["versions"] == ["1"]
        assert (await client.get_model_config("toy", "1"))["max_batch_size"] == 8
        assert {model["name"] for model in await client.get_model_repository_index()} >= {"toy", "absent"}
        assert (await client.get_inference_statistics("toy"))["model_stats"][0]["name"] == "toy"

    _converse(zoo_server, conversation)


@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype(zoo_server: Server, binary: bool) -> None:
    async def conversation(client: Any) -> None:
        for datatype in SAMPLES if binary else SAMPLES.keys() - BYTES_ONLY:
            result = await client.infer(
                f"identity_{datatype.lower()}",
                [_input(datatype, SAMPLES[datatype], binary=binary)],
                outputs=[InferRequestedOutput("y", binary_data=binary)],
                request_id=datatype,
            )
            assert same(result.as_numpy("y"), SAMPLES[datatype]), datatype
            assert result.get_response()["id"] == datatype

    _converse(zoo_server, conversation)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(zoo_server: Server, algorithm: str) -> None:
    async def conversation(client: Any) -> None:
        result = await client.infer(
            "identity_fp32",
            [_input("FP32", SAMPLES["FP32"])],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        assert same(result.as_numpy("y"), SAMPLES["FP32"])

    _converse(zoo_server, conversation)


def test_classification(zoo_server: Server) -> None:
    async def conversation(client: Any) -> None:
        image = InferInput("image", [3, 4, 4], "UINT8").set_data_from_numpy(IMAGES)
        result = await client.infer("toy", [image], outputs=[InferRequestedOutput("probabilities", class_count=1)])
        for text in result.as_numpy("probabilities").ravel():
            assert text.decode().split(":")[2] in LABELS

    _converse(zoo_server, conversation)


def test_nobody_gets_anothers_answer(zoo_server: Server) -> None:
    async def conversation(client: Any) -> None:
        async def ask(number: int) -> None:
            rows = 1 + number % 8
            array = np.full((rows, 4), number, np.float32) + np.arange(rows, dtype=np.float32)[:, None] / 16
            result = await client.infer("identity_fp32", [_input("FP32", array, binary=number % 2 == 0)])
            assert same(result.as_numpy("y"), array)

        await asyncio.gather(*map(ask, range(300)))

    _converse(zoo_server, conversation)


def test_one_that_gives_up_harms_nobody(zoo_server: Server) -> None:
    async def conversation(client: Any) -> None:
        async def ask(number: int) -> float:
            result = await client.infer("patient", [_input("FP32", np.full((1, 1), number, np.float32))])
            return float(result.as_numpy("y")[0, 0])

        asked = [asyncio.create_task(ask(number)) for number in range(6)]
        await client.is_server_live()  # all have been sent by now, and wait for company
        for task in asked[::2]:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[1::2] == [1.0, 3.0, 5.0]

    _converse(zoo_server, conversation)


@pytest.mark.parametrize(
    ("model", "shape", "status"),
    [("nobody", [1, 1], "404"), ("absent", [1, 1], "503"), ("identity_fp32", [9, 1], "400"), ("toy", [1, 1], "400")],
)
def test_errors_are_the_clients_own(zoo_server: Server, model: str, shape: list[int], status: str) -> None:
    async def conversation(client: Any) -> None:
        with pytest.raises(InferenceServerException) as error:
            await client.infer(model, [_input("FP32", np.zeros(shape, np.float32))])
        assert error.value.status() == status
        assert "decoding the response" not in error.value.message()
        assert await client.is_server_live()

    _converse(zoo_server, conversation)
