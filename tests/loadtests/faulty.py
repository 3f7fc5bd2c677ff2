"""A server of one model, y = 2x, that misbehaves in a way of one's choice, and speaks as little of the protocol as it may.

    python -m tests.loadtests.faulty stall --port 8000

For tests, and for the figures in docs/load-testing.md.
"""

import argparse
import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

BEHAVIOURS = ("right", "swap", "wrong", "stall", "slow", "words", "refuse", "dead", "dribble")

#: How long a stall is, and how often there is one.
STALL_SECONDS, STALL_EVERY = 0.05, 1.0

#: Two answers in so many are exchanged.
SWAP_EVERY = 1000

METADATA: dict[str, Any] = {
    "name": "double",
    "versions": ["1"],
    "platform": "test",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


class Faulty(http.server.ThreadingHTTPServer):
    """Misbehaves once it has answered the questions that a load test asks before the load."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, behaviour: str, *, port: int = 0, well_behaved: int = 65, service_seconds: float = 0.0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behaviour = behaviour
        self.well_behaved = well_behaved
        self.service_seconds = service_seconds
        self.asked = 0
        self.lock = threading.Lock()
        self.exchange: list[bytes] = []
        self.exchanged = threading.Event()
        self.open: set[Any] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Faulty

    def do_GET(self) -> None:
        known = self.path == "/v2/models/double"
        self.reply(200 if known else 404, json.dumps(METADATA if known else {"error": "not here"}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if "inference-header-content-length" in self.headers:
            self.reply(400, b'{"error": "no binary tensors here"}')
            return
        x = json.loads(body)["inputs"][0]
        y = {"name": "y", "datatype": "FP32", "shape": x["shape"], "data": [2 * value for value in x["data"]]}
        right = json.dumps({"model_name": "double", "model_version": "1", "outputs": [y]}).encode()
        with self.server.lock:
            self.server.asked += 1
            number = self.server.asked - self.server.well_behaved
        if self.server.service_seconds:
            time.sleep(self.server.service_seconds)
        if number <= 0 or self.server.behaviour == "right":
            self.reply(200, right)
        else:
            getattr(self, self.server.behaviour)(number, right)

    def swap(self, number: int, right: bytes) -> None:
        """Two that are under way at the same time get each other's answer."""
        place = number % SWAP_EVERY - 500
        if place not in (0, 1):
            self.reply(200, right)
            return
        if place == 0:
            self.server.exchange = [right]
            self.server.exchanged.clear()
            met = self.server.exchanged.wait(1.0)
            self.reply(200, self.server.exchange[1] if met else right)
        else:
            mine = [*self.server.exchange, right]
            self.server.exchange = mine
            self.server.exchanged.set()
            self.reply(200, mine[0])

    def wrong(self, number: int, right: bytes) -> None:
        told = json.loads(right)
        if number % 10 == 0:
            told["outputs"][0]["data"][0] += 1000.0
        self.reply(200, json.dumps(told).encode())

    def stall(self, _: int, right: bytes) -> None:
        since = time.monotonic() % STALL_EVERY
        if since < STALL_SECONDS:
            time.sleep(STALL_SECONDS - since)
        self.reply(200, right)

    def slow(self, _: int, right: bytes) -> None:
        time.sleep(1.0)
        self.reply(200, right)

    def dribble(self, _: int, right: bytes) -> None:
        """Send the answer's head at once and its body never: what a timeout between two bytes does not see soon."""
        self.send_response(200)
        self.send_header("content-length", str(len(right)))
        self.end_headers()
        for byte in right[:20]:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.1)

    def words(self, _: int, __: bytes) -> None:
        self.reply(200, b"<html>Welcome to nginx!</html>")

    def refuse(self, number: int, right: bytes) -> None:
        if number % 2:
            self.reply(429, b'{"error": "come back later"}', ("retry-after", "1"))
        else:
            self.reply(200, right)

    def dead(self, number: int, right: bytes) -> None:
        """Answer for a while, and be gone: connections are closed, and nobody listens."""
        if number < 200:
            self.reply(200, right)
            return
        self.close_connection = True
        if number == 200:
            self.server.socket.close()
            threading.Thread(target=self.server.shutdown, daemon=True).start()

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (*headers, ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def faulty(behaviour: str, **more: Any) -> Iterator[Faulty]:  # Any: what Faulty takes
    """Run such a server until the block ends."""
    server = Faulty(behaviour, **more)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("behaviour", choices=BEHAVIOURS)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--service-ms", type=float, default=0.0, help="how long an answer takes where all is well")
    arguments = parser.parse_args()
    Faulty(arguments.behaviour, port=arguments.port, service_seconds=arguments.service_ms / 1000).serve_forever()


if __name__ == "__main__":
    main()
