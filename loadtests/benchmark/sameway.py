"""Sameway itself: the command that an operator runs, asked in the Open Inference Protocol."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from loadtests.benchmark.model import CLASSES, INPUT, MODEL, OUTPUT
from loadtests.benchmark.side import BINARY, JSON, Exchange, Side
from models.tensors import Array

ROOT = Path(__file__).resolve().parents[2]
_LENGTH = "inference-header-content-length"


def side(frontend: str, repository: Path, image: Array, *, root: Path = ROOT) -> Side:
    """Return a front end of this tree, or of another one where `root` is given: for a before and an after."""
    command = (
        sys.executable,
        "cli.py",
        "serve",
        "--repository",
        str(repository),
        "--frontend",
        frontend,
        "--port",
        "{port}",
    )
    name = {"fastapi": "Sameway, FastAPI", "flask": "Sameway, Flask"}[frontend]
    return Side(
        name if root == ROOT else f"{name} ({root.name})",
        (*command, "--port", "{port}", "--drain-delay-seconds", "0"),
        "/v2/health/ready",
        {JSON: as_json(f"/v2/models/{MODEL}/infer", image), BINARY: _as_binary(image)},
        root,
    )


def as_json(path: str, image: Array) -> Exchange:
    """Return the exchange in which everything is JSON. Other servers can be asked in it too: it is plain enough."""

    def read(_: Mapping[str, str], body: bytes) -> Array:
        output = json.loads(body)["outputs"][0]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    # FP32 written with the fewest digits that are read back as the same number, as clients write it.
    values = [float(str(value)) for value in image.ravel()]
    described = {"name": INPUT, "datatype": "FP32", "shape": list(image.shape), "data": values}
    body = json.dumps({"inputs": [described]}, separators=(",", ":")).encode()
    return Exchange(path, body, read, {"content-type": "application/json"})


def _as_binary(image: Array) -> Exchange:
    """Return the exchange in which tensors are bytes behind a JSON head, as tritonclient sends it and wants it answered."""

    def read(headers: Mapping[str, str], body: bytes) -> Array:
        return np.frombuffer(body[int(headers[_LENGTH]) :], np.float32).reshape(1, CLASSES)

    data = image.tobytes()
    described = {
        "name": INPUT,
        "datatype": "FP32",
        "shape": list(image.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    wanted = {"name": OUTPUT, "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [described], "outputs": [wanted]}, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", _LENGTH: str(len(head))}
    return Exchange(f"/v2/models/{MODEL}/infer", head + data, read, headers)
