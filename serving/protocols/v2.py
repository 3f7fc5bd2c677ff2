"""The Open Inference Protocol, version 2, over REST: health, metadata, inference, the repository's index.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md. Bodies are read as
they are; no decision is made by Content-Type, which real clients leave out or set wrongly.
"""

import importlib.metadata
import time
from dataclasses import replace

import orjson

from models.tensors import Signature, TensorSpec
from serving.engine.base import Engine, State
from serving.errors import MalformedRequest, ModelNotReady
from serving.limits import Limits
from serving.protocols import v2_tensors
from serving.protocols.route import HttpRequest, Pending, Reply, Route, inference_headers, version_of
from serving.request import InferResponse

#: The extensions of the protocol that this server speaks.
EXTENSIONS = ("model_repository",)


class V2:
    """The protocol's routes on one engine."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._server = {"name": "sameway", "version": importlib.metadata.version("sameway"), "extensions": EXTENSIONS}

    def routes(self) -> list[Route]:
        """Return the routes; those of a model exist with and without a version."""
        routes = [
            Route("GET", "/v2", self.server_metadata),
            Route("GET", "/v2/", self.server_metadata),
            Route("GET", "/v2/health/live", self.live),
            Route("GET", "/v2/health/ready", self.ready),
            Route("POST", "/v2/repository/index", self.index),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route("GET", path, self.model_metadata),
                Route("GET", f"{path}/ready", self.model_ready),
                Route("POST", f"{path}/infer", self.infer, inference=True),
            ]
        return routes

    def server_metadata(self, _request: HttpRequest) -> Reply:
        """Say who this server is."""
        return _json(self._server)

    def live(self, _request: HttpRequest) -> Reply:
        """Say that this process answers."""
        return _json({"live": True})

    def ready(self, _request: HttpRequest) -> Reply:
        """Say whether this server should be sent requests."""
        if not self._engine.ready():
            raise ModelNotReady("the server is not ready", retry_after_seconds=1)
        return _json({"ready": True})

    def model_metadata(self, request: HttpRequest) -> Reply:
        """Say what a model takes and gives; shapes have the batch axis, -1 where free."""
        metadata = self._engine.metadata(request.parameters["model"], version_of(request.parameters))
        signature = metadata.signature
        return _json(
            {
                "name": metadata.name,
                "versions": [str(version) for version in metadata.versions],
                "platform": metadata.platform,
                "inputs": [_tensor_json(signature, spec) for spec in signature.inputs],
                "outputs": [_tensor_json(signature, spec) for spec in signature.outputs],
            }
        )

    def model_ready(self, request: HttpRequest) -> Reply:
        """Say whether a model can answer."""
        name, version = request.parameters["model"], version_of(request.parameters)
        if not self._engine.ready(name, version):
            reason = next((status.reason for status in self._engine.index() if status.name == name), "")
            raise ModelNotReady(f"model {name!r} is not ready: {reason or 'the server is shutting down'}")
        return _json({"name": name, "ready": True})

    def index(self, request: HttpRequest) -> Reply:
        """Return every model of the repository with its state and the reason for it."""
        only_ready = _only_ready(request.body, self._limits)
        return _json(
            [
                {
                    "name": status.name,
                    **({} if status.version is None else {"version": str(status.version)}),
                    "state": status.state.value,
                    "reason": status.reason,
                }
                for status in self._engine.index()
                if status.state is State.READY or not only_ready
            ]
        )

    def infer(self, request: HttpRequest) -> Pending:
        """Run a model on the tensors in the body."""
        metadata = self._engine.metadata(request.parameters["model"], version_of(request.parameters))
        wish = v2_tensors.decode(request.body, model=metadata.name, version=metadata.version, limits=self._limits)
        submitted = time.monotonic()
        deadline = request.received + metadata.timeout_seconds
        datatypes = {spec.name: spec.datatype for spec in metadata.signature.outputs}

        def encode(response: InferResponse) -> Reply:
            encoding = time.monotonic()
            body = v2_tensors.encode(response, datatypes)
            return Reply(200, body, headers=inference_headers(request, response, submitted=submitted, encoding=encoding))

        return Pending(self._engine.submit(replace(wish, deadline=deadline)), deadline, encode)


def _json(value: object) -> Reply:
    return Reply(200, orjson.dumps(value))


def _tensor_json(signature: Signature, spec: TensorSpec) -> dict[str, object]:
    shape = [-1 if length is None else length for length in signature.full_shape(spec)]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _only_ready(body: bytes, limits: Limits) -> bool:
    """Return the index request's `ready` field; clients send an empty body where they mean false."""
    if not body.strip():
        return False
    fields = v2_tensors.parse(body, limits)
    if not isinstance(fields, dict):
        raise MalformedRequest.at("body", expected="an object or nothing", found=v2_tensors.kind_of(fields))
    ready = fields.get("ready", False)
    if not isinstance(ready, bool):
        raise MalformedRequest.at("ready", expected="true or false", found=v2_tensors.kind_of(ready))
    return ready
