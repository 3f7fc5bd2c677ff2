"""The same without a framework for serving, in Flask: a view that calls the session, under gunicorn's threads."""

import functools
import os
import sys

from flask import Flask, Response, request

from loadtests.benchmark import plain
from loadtests.benchmark.asking import as_bytes, as_json
from loadtests.benchmark.session import open_session, run
from loadtests.benchmark.side import BY_HAND, Side
from loadtests.benchmark.work import BINARY, JSON

_VARIABLE = "BENCHMARK_MODEL"

#: So that one computes while others read and write. Other numbers were not measured.
_THREADS = 4


def side(*, workers: int) -> Side:
    """Return the view in so many processes."""
    return Side(
        f"Flask by hand, gunicorn, {workers} worker{'s' if workers > 1 else ''}",
        BY_HAND,
        (
            *(sys.executable, "-m", "gunicorn", f"{__name__}:create_app()", "--bind", "127.0.0.1:{port}"),
            *("--worker-class", "gthread", "--workers", str(workers), "--threads", str(_THREADS)),
            # Connections are kept as long as elsewhere, and a worker that was stopped for a while is not taken for dead.
            *("--keep-alive", "60", "--timeout", "0", "--log-level", "warning"),
        ),
        {JSON: functools.partial(as_json, "/json"), BINARY: functools.partial(as_bytes, "/binary")},
        {_VARIABLE: "{model}"},
    )


def create_app() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    session = open_session(os.environ[_VARIABLE])

    @app.post("/json")
    def from_json() -> Response:
        return Response(plain.to_json(run(session, plain.from_json(request.get_data()))), mimetype=plain.JSON_TYPE)

    @app.post("/binary")
    def from_bytes() -> Response:
        return Response(run(session, plain.from_bytes(request.get_data())).tobytes(), mimetype=plain.BINARY_TYPE)

    return app
