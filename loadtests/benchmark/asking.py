"""How servers are asked: in the Open Inference Protocol, as JSON or in binary, or with an image's bytes and nothing else."""

import json
from collections.abc import Mapping

import numpy as np

from loadtests.benchmark.session import CLASSES, INPUT, OUTPUT
from loadtests.benchmark.side import Exchange
from models.tensors import Array

_LENGTH = "inference-header-content-length"


def as_json(path: str, images: Array) -> Exchange:
    """Return the exchange in which everything is JSON. Other servers can be asked in it too: it is plain enough."""

    def read(_: Mapping[str, str], body: bytes) -> Array:
        output = json.loads(body)["outputs"][0]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    # FP32 written with the fewest digits that are read back as the same number, as clients write it.
    values = [float(str(value)) for value in images.ravel()]
    described = {"name": INPUT, "datatype": "FP32", "shape": list(images.shape), "data": values}
    body = json.dumps({"inputs": [described]}, separators=(",", ":")).encode()
    return Exchange(path, body, read, {"content-type": "application/json"})


def as_binary(path: str, images: Array) -> Exchange:
    """Return the exchange in which tensors are bytes behind a JSON head, as tritonclient sends it and wants it answered."""

    def read(headers: Mapping[str, str], body: bytes) -> Array:
        return np.frombuffer(body[int(headers[_LENGTH]) :], np.float32).reshape(-1, CLASSES)

    data = images.tobytes()
    described = {
        "name": INPUT,
        "datatype": "FP32",
        "shape": list(images.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    wanted = {"name": OUTPUT, "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [described], "outputs": [wanted]}, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", _LENGTH: str(len(head))}
    return Exchange(path, head + data, read, headers)


def as_bytes(path: str, images: Array) -> Exchange:
    """Return the exchange in which a body is float32 and nothing else, both ways."""

    def read(_: Mapping[str, str], body: bytes) -> Array:
        return np.frombuffer(body, np.float32).reshape(-1, CLASSES)

    return Exchange(path, images.tobytes(), read, {"content-type": "application/octet-stream"})
