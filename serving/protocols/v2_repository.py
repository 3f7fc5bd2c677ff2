"""The Open Inference Protocol's model repository extension: index, load, unload.

Loading and unloading models is not for strangers: both answer 403 unless the management API is on, and then ask for a
key with the scope `manage` where there are keys.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import time

import orjson

from serving.access import MANAGE, OBSERVE
from serving.engine.base import Engine, Management, ModelStatus, State
from serving.errors import Forbidden, MalformedRequest, Unsupported
from serving.limits import Limits
from serving.protocols.json_body import Json, parse, show
from serving.protocols.route import HttpRequest, Pending, Reply, Route

#: Seconds a load or an unload may take before its caller is told 504; it goes on nevertheless.
_MANAGEMENT_SECONDS = 600.0


class V2Repository:
    """The extension's routes on one engine."""

    def __init__(self, engine: Engine, limits: Limits, *, management: Management | None) -> None:
        self._engine = engine
        self._limits = limits
        self._management = management

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", "/v2/repository/index", self.index, body="index", scopes=OBSERVE),
            Route("POST", "/v2/repository/models/{model}/load", self.load, body="management", scopes=MANAGE, waits=True),
            Route("POST", "/v2/repository/models/{model}/unload", self.unload, body="management", scopes=MANAGE, waits=True),
        ]

    def index(self, request: HttpRequest) -> Reply:
        """Return every model of the repository with its state and the reason for it."""
        only_ready = self._fields(request).get("ready", False)
        if not isinstance(only_ready, bool):
            raise MalformedRequest.at("ready", expected="true or false", found=show(only_ready))
        models = [status for status in self._engine.index() if status.state is State.READY or not only_ready]
        return Reply(200, orjson.dumps([_status(status) for status in models]))

    def load(self, request: HttpRequest) -> Pending:
        """Load the newest version of a model, or load it again; the old version serves until the new one is ready."""
        management, parameters = self._managed(request)
        if parameters:
            raise Unsupported(
                "parameters: a model is loaded as it lies in the repository, nothing is uploaded", field="parameters"
            )
        return Pending(management.load(request.parameters["model"]), time.monotonic() + _MANAGEMENT_SECONDS, _done)

    def unload(self, request: HttpRequest) -> Pending:
        """Finish a model's accepted requests and free it. There are no ensembles, so it has no dependents."""
        management, _ = self._managed(request)
        return Pending(management.unload(request.parameters["model"]), time.monotonic() + _MANAGEMENT_SECONDS, _done)

    def _managed(self, request: HttpRequest) -> tuple[Management, Json]:
        """Return who manages and the request's parameters; raise Forbidden unless the management API is on."""
        if self._management is None:
            raise Forbidden("the management API is off; start the server with --management, or a key that may manage")
        parameters = self._fields(request).get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise MalformedRequest.at("parameters", expected="an object", found=show(parameters))
        return self._management, parameters or {}

    def _fields(self, request: HttpRequest) -> Json:
        """Return the fields of a body; clients send an empty one where they have nothing to say."""
        return parse(request.body, self._limits) if request.body.strip() else {}


def _status(status: ModelStatus) -> Json:
    """Return a line of the index; `verified`, which the protocol does not have, stands where it is known."""
    version: Json = {} if status.version is None else {"version": str(status.version)}
    verified: Json = {} if status.verified is None else {"verified": status.verified}
    return {"name": status.name, **version, "state": status.state.value, "reason": status.reason, **verified}


def _done(_: None) -> Reply:
    return Reply(200, b"{}")
