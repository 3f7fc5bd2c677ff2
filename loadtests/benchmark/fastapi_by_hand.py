"""What one writes without a framework for serving: a FastAPI handler that calls the session, and nothing besides.

No batches, no queue, no limits, no checks, no figures. orjson reads and writes JSON; in binary, the body is the images and
the answer is the probabilities. uvicorn runs it, with uvloop and httptools, as one process or as several.
"""

import functools
import os
import sys

from fastapi import FastAPI, Request, Response

from loadtests.benchmark import plain
from loadtests.benchmark.asking import as_bytes, as_json
from loadtests.benchmark.session import open_session, run
from loadtests.benchmark.side import BY_HAND, Side
from loadtests.benchmark.work import BINARY, JSON

#: uvicorn's workers import the application again, so what it serves comes to it by the environment.
_VARIABLE = "BENCHMARK_MODEL"


def side(*, workers: int) -> Side:
    """Return the handler in so many processes."""
    return Side(
        f"FastAPI by hand, {workers} worker{'s' if workers > 1 else ''}",
        BY_HAND,
        (
            *(sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:create_app", "--port", "{port}"),
            *("--workers", str(workers), "--no-access-log", "--log-level", "warning"),
        ),
        {JSON: functools.partial(as_json, "/json"), BINARY: functools.partial(as_bytes, "/binary")},
        {_VARIABLE: "{model}"},
    )


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI()
    session = open_session(os.environ[_VARIABLE])

    @app.post("/json")
    async def from_json(request: Request) -> Response:
        found = run(session, plain.from_json(await request.body()))
        return Response(plain.to_json(found), media_type=plain.JSON_TYPE)

    @app.post("/binary")
    async def from_bytes(request: Request) -> Response:
        found = run(session, plain.from_bytes(await request.body()))
        return Response(found.tobytes(), media_type=plain.BINARY_TYPE)

    return app
