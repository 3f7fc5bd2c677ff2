"""KServe's own client asks a server. Run by test_kserve.py in the environment of that client, where nothing of ours is.

    .venv-kserve/bin/python tests/conformance/kserve_client.py http://127.0.0.1:8000

Prints one JSON object: the name of each check, with null or with what went wrong.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
from kserve import (
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

# Any: the client has no types.
Check = Callable[[Any, str], Awaitable[None]]

SAMPLES = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -65504]], np.float16),
    "FP32": np.array([[1 / 3, -3e38]], np.float32),
    "FP64": np.array([[1 / 3, -1e308]], np.float64),
    "BYTES": np.array([["one", "ü€😀"]], dtype=object),
}


def _ask(name: str, datatype: str, array: Any, *, binary: bool) -> Any:
    """Return an input of the client's."""
    asked = InferInput(name, list(array.shape), datatype)
    asked.set_data_from_numpy(array, binary_data=binary)
    return asked


def _same(found: Any, sent: Any) -> bool:
    if sent.dtype == object:
        texts = [text.decode() if isinstance(text, bytes) else text for text in found.ravel()]
        return bool(texts == sent.ravel().tolist())
    return bool(np.array_equal(found, sent) and found.dtype == sent.dtype)


async def health(client: Any, url: str) -> None:
    """Live, ready, and a model ready."""
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    assert await client.is_model_ready(url, "toy") is True
    assert await client.is_model_ready(url, "absent") is False
    assert await client.is_model_ready(url, "nobody") is False


async def _identity(client: Any, url: str, *, into: bool, out: bool) -> None:
    for datatype, array in SAMPLES.items():
        if datatype == "FP16" and not (into and out):
            continue
        request = InferRequest(
            model_name=f"identity_{datatype.lower()}",
            infer_inputs=[_ask("x", datatype, array, binary=into)],
            request_id=f"id of {datatype}",
            request_outputs=[RequestedOutput("y", parameters={"binary_data": out})],
        )
        response = await client.infer(url, request, model_name=request.model_name)
        assert response.id == f"id of {datatype}", response.id
        assert response.model_name == request.model_name
        assert _same(response.get_output_by_name("y").as_numpy(), array), (datatype, response)


async def json_in_json_out(client: Any, url: str) -> None:
    """Every datatype that JSON carries."""
    await _identity(client, url, into=False, out=False)


async def bytes_in_json_out(client: Any, url: str) -> None:
    """Bytes in, JSON out."""
    await _identity(client, url, into=True, out=False)


async def json_in_bytes_out(client: Any, url: str) -> None:
    """JSON in, bytes out."""
    await _identity(client, url, into=False, out=True)


async def bytes_in_bytes_out(client: Any, url: str) -> None:
    """Every datatype that the client knows."""
    await _identity(client, url, into=True, out=True)


async def two_inputs(client: Any, url: str) -> None:
    """Two tensors of different datatypes, all outputs as bytes."""
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.int64)
    request = InferRequest(
        model_name="pair",
        infer_inputs=[_ask("b", "INT64", b, binary=True), _ask("a", "FP32", a, binary=True)],
        parameters={"binary_data_output": True},
    )
    response = await client.infer(url, request, model_name="pair")
    assert response.id  # the client makes one up
    assert _same(response.get_output_by_name("sum").as_numpy(), a + b.astype(np.float32))
    assert _same(response.get_output_by_name("less").as_numpy(), b - a.astype(np.int64))


async def plain_dictionary(client: Any, url: str) -> None:
    """What users write by hand."""
    data = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "INT32", "data": [[1, 2]]}]}
    response = await client.infer(url, data, model_name="identity_int32")
    assert response.get_output_by_name("y").as_numpy().tolist() == [[1, 2]]


async def errors(client: Any, url: str) -> None:
    """Errors arrive with the server's words."""
    wrong = InferRequest(model_name="toy", infer_inputs=[_ask("image", "UINT8", np.zeros((1, 5, 4), np.uint8), binary=True)])
    for request, model, status, word in (
        (wrong, "toy", 400, "shape"),
        (wrong, "nobody", 404, "nobody"),
        (wrong, "absent", 503, "absent"),
        ({"inputs": "none"}, "toy", 400, "inputs"),
    ):
        try:
            await client.infer(url, request, model_name=model)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != status or word not in str(error):
                raise AssertionError(f"{model}: expected {status} and {word!r}, found {error}") from error
        else:
            raise AssertionError(f"{model} answered")


CHECKS: tuple[Check, ...] = (
    health,
    json_in_json_out,
    bytes_in_json_out,
    json_in_bytes_out,
    bytes_in_bytes_out,
    two_inputs,
    plain_dictionary,
    errors,
)


async def main(url: str) -> dict[str, str | None]:
    """Return what came of each check."""
    results: dict[str, str | None] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        for check in CHECKS:
            try:
                await check(client, url)
                results[check.__name__] = None
            except Exception:  # noqa: BLE001 - reported
                results[check.__name__] = traceback.format_exc()
    return results


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))  # noqa: T201 - its purpose
