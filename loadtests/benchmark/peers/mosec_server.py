"""mosec: a server in Rust in front of two worker processes, which take batches from it over a socket.

Its batcher has at least one millisecond of window once it may join requests, which a lone client pays; a server without
batches, and other sizes than 32, were not measured here.
JSON is read as mosec does it by itself, with the standard library, or with orjson, as its users can have it.
"""

import os

import numpy as np
import numpy.typing as npt
from mosec import Server, Worker

from loadtests.benchmark import plain
from loadtests.benchmark.session import OUTPUT, open_session, run

#: (whether it is JSON, images or probabilities): the wire of an answer is that of its request.
_Asked = tuple[bool, npt.NDArray[np.float32]]


class Benchmark(Worker):  # type: ignore[misc]  # the package is not typed here
    """One worker, for both wires: to mosec a body is bytes. No image of the benchmark begins like its JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._session = open_session(os.environ["BENCHMARK_MODEL"])

    def deserialize(self, data: bytes) -> _Asked:
        """Return the images of a body."""
        if not data.startswith(b'{"inputs"'):
            return False, plain.from_bytes(data)
        return True, plain.from_json(data)

    def forward(self, data: list[_Asked]) -> list[_Asked]:
        """Return the probabilities of a batch."""
        joined = np.concatenate([images for _, images in data]) if len(data) > 1 else data[0][1]
        found = run(self._session, joined)
        ends = np.cumsum([len(images) for _, images in data])[:-1]
        return [(is_json, part) for (is_json, _), part in zip(data, np.split(found, ends), strict=True)]

    def serialize(self, data: _Asked) -> bytes:
        """Return the body of an answer."""
        is_json, found = data
        return plain.to_json(found) if is_json else found.tobytes()


class AsItComes(Benchmark):
    """The same with mosec's own JSON."""

    def deserialize(self, data: bytes) -> _Asked:
        """Return the images of a body."""
        if not data.startswith(b'{"inputs"'):
            return False, plain.from_bytes(data)
        (given,) = Worker.deserialize(self, data)["inputs"]
        return True, np.array(given["data"], np.float32).reshape(given["shape"])

    def serialize(self, data: _Asked) -> bytes:
        """Return the body of an answer."""
        is_json, found = data
        if not is_json:
            return found.tobytes()
        described = {"name": OUTPUT, "datatype": "FP32", "shape": found.shape, "data": found.ravel().tolist()}
        answer: bytes = Worker.serialize(self, {"outputs": [described]})
        return answer


if __name__ == "__main__":
    server = Server()
    worker = AsItComes if os.environ["BENCHMARK_JSON"] == "stdlib" else Benchmark
    server.append_worker(worker, num=2, max_batch_size=32, max_wait_time=1, timeout=30)
    server.run()
