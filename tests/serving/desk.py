"""The routes on a real engine, asked without any server."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.repository import Repository
from models.tensors import Array
from serving.access import Access
from serving.engine.local import LocalEngine
from serving.limits import Limits
from serving.metrics import Metrics
from serving.protocols.dispatch import Dispatcher
from serving.protocols.ending import Observer
from serving.protocols.openapi import OpenApi
from serving.protocols.operations import Operations
from serving.protocols.predict import Predict
from serving.protocols.route import HttpRequest, Reply, Route
from serving.protocols.v2 import V2
from serving.protocols.v2_repository import V2Repository
from serving.protocols.waiting import Waiting
from tests import toys
from tests.serving.sessions import PATIENCE


class Desk:
    """Everything behind the front ends: models of a repository, loaded, and the dispatch of all routes."""

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        load: bool = True,
        more: list[Route] | None = None,
        access: Access | None = None,
        management: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.engine = LocalEngine(Repository(root), self.metrics)
        routes = [*V2(self.engine, self.limits).routes(), *Predict(self.engine, self.limits).routes()]
        routes += V2Repository(self.engine, self.limits, management=self.engine.management if management else None).routes()
        routes += [*Operations(self.metrics).routes(), *(more or [])]
        routes += OpenApi(routes, self.engine).routes() if access is not None else []
        self.routes = routes
        self.dispatcher = Dispatcher(routes, self.engine, self.metrics, self.limits, access=access, observers=observers)
        if load:
            self.engine.load_all()

    def close(self) -> None:
        self.engine.close(drain_seconds=PATIENCE)

    def begin(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> "Reply | Waiting":
        return self.dispatcher.handle(HttpRequest(method, path, headers or {}, body, time.monotonic()))

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        return self.end(self.begin(method, path, body, headers))

    def end(self, answer: "Reply | Waiting") -> Reply:
        """Wait as a front end does, and return the reply."""
        if isinstance(answer, Reply):
            return answer
        done = threading.Event()
        answer.future.add_done_callback(lambda _: done.set())
        done.wait(max(0.0, answer.deadline - time.monotonic()))
        return answer.reply() if answer.future.done() else answer.expired()

    def value(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 where the series does not exist."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def outcomes(self) -> dict[tuple[str, str, str, str], float]:
        """Return all counts of requests, by model, version, outcome and reason."""
        return {
            (labels["model"], labels["version"], labels["outcome"], labels["reason"]): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "sameway_requests_total" and sample.value  # what has not come yet is there, as 0
            for labels in [sample.labels]
        }


def body_of(reply: Reply) -> Any:  # Any: JSON
    return json.loads(reply.body)


def infer_body(pixels: Array, **fields: Any) -> bytes:  # Any: whatever a client may add
    """Return the V2 request for the toy's answer to these images."""
    image = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    return json.dumps({"inputs": [image], **fields}).encode()


def png(pixels: Array) -> bytes:
    """Return one image as a PNG file."""
    return toys.content().input.write({"image": pixels[None]})
