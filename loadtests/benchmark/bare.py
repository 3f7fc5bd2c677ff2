"""What one writes without a framework for serving: a FastAPI handler that calls the session, and nothing besides.

No batches, no queue, no limits, no checks, no figures. orjson reads and writes JSON; in binary, the body is the image and
the answer is the probabilities. `python -m loadtests.benchmark.bare MODEL.onnx PORT` is the server.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from loadtests.benchmark.model import CLASSES, INPUT, OUTPUT, SIDE, open_session
from loadtests.benchmark.sameway import ROOT, as_json
from loadtests.benchmark.side import BINARY, JSON, Exchange, Side
from models.tensors import Array


def side(model: Path, image: Array) -> Side:
    """Return the bare handler around an ONNX file."""

    def read(_: Mapping[str, str], body: bytes) -> Array:
        return np.frombuffer(body, np.float32).reshape(1, CLASSES)

    return Side(
        "bare FastAPI",
        (sys.executable, "-m", "loadtests.benchmark.bare", str(model), "{port}"),
        "/ready",
        {JSON: as_json("/json", image), BINARY: Exchange("/binary", image.tobytes(), read)},
        ROOT,
    )


def create_app(model: str) -> FastAPI:
    """Return the application."""
    app = FastAPI()
    session = open_session(model)

    @app.get("/ready")
    async def ready() -> Response:
        return Response()

    @app.post("/json")
    async def from_json(request: Request) -> Response:
        (given,) = orjson.loads(await request.body())["inputs"]
        image = np.array(given["data"], np.float32).reshape(given["shape"])
        (found,) = session.run([OUTPUT], {INPUT: image})
        described = {"name": OUTPUT, "datatype": "FP32", "shape": found.shape, "data": found.ravel()}
        answer = orjson.dumps({"outputs": [described]}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(answer, media_type="application/json")

    @app.post("/binary")
    async def from_bytes(request: Request) -> Response:
        image = np.frombuffer(await request.body(), np.float32).reshape(1, SIDE, SIDE)
        (found,) = session.run([OUTPUT], {INPUT: image})
        return Response(found.tobytes(), media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning")
