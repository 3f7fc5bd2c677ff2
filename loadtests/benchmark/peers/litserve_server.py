"""LitServe: two processes with FastAPI in front of two workers, which join requests.

Bodies are JSON to it; bytes travel in base64. Its other queue (`fast_queue`, ZeroMQ) was no faster in one run on a busy
machine, and slower with 32 images as JSON. With no window at all for batches its workers poll:
a whole core while idle.
"""

import base64
import os
import sys
from typing import Any

import litserve
import numpy as np
import numpy.typing as npt
from fastapi import Request, Response

from loadtests.benchmark import plain
from loadtests.benchmark.session import open_session, run


class Benchmark(litserve.LitAPI):  # type: ignore[misc]  # the package is not typed here
    """Decode, join, run, part, encode, as LitServe wants it."""

    def setup(self, device: str) -> None:
        """Open the session, in a worker."""
        self._session = open_session(os.environ["BENCHMARK_MODEL"])

    def decode_request(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the images of a document: despite its annotation, LitServe has read it."""
        document: Any = request
        if "base64" in document:
            return plain.from_bytes(base64.b64decode(document["base64"]))
        (given,) = document["inputs"]
        return np.array(given["data"], np.float32).reshape(given["shape"])

    def batch(self, inputs: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """Keep requests apart until they are run: they may have several images each."""
        return inputs

    def predict(self, inputs: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """Return the probabilities of a batch, request by request."""
        found = run(self._session, np.concatenate(inputs) if len(inputs) > 1 else inputs[0])
        return np.split(found, np.cumsum([len(images) for images in inputs])[:-1])

    def unbatch(self, output: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """Return what `predict` has parted."""
        return output

    def encode_response(self, output: npt.NDArray[np.float32]) -> Response:
        """Return the answer, which is JSON to either request: ten numbers."""
        return Response(plain.to_json(output), media_type=plain.JSON_TYPE)


if __name__ == "__main__":
    api = Benchmark(max_batch_size=32, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=2, fast_queue=False, timeout=60).run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=2,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
