"""The plainest wire, for servers that leave it to whoever writes the handler: V2's JSON with orjson, or float32 as bytes.

In binary a request's body is its images and an answer's is the probabilities, with nothing around them.
"""

import numpy as np
import numpy.typing as npt
import orjson

from loadtests.benchmark.session import OUTPUT, SIDE

JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"


def from_json(body: bytes) -> npt.NDArray[np.float32]:
    """Return the images of a JSON body."""
    (given,) = orjson.loads(body)["inputs"]
    return np.array(given["data"], np.float32).reshape(given["shape"])


def to_json(found: npt.NDArray[np.float32]) -> bytes:
    """Return the JSON body of an answer."""
    described = {"name": OUTPUT, "datatype": "FP32", "shape": found.shape, "data": found.ravel()}
    return orjson.dumps({"outputs": [described]}, option=orjson.OPT_SERIALIZE_NUMPY)


def from_bytes(body: bytes) -> npt.NDArray[np.float32]:
    """Return the images of a binary body."""
    return np.frombuffer(body, np.float32).reshape(-1, SIDE, SIDE)
