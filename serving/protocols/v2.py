"""The Open Inference Protocol, version 2, over REST: health, metadata, inference, configuration, statistics.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md. Bodies are read as
they are; no decision is made by Content-Type, which real clients leave out or set wrongly.
"""

import importlib.metadata
import itertools
import time
from collections.abc import Iterator

import orjson

from models.content import LabelContent
from models.tensors import Signature
from serving.access import ANYONE, DESCRIBE, OBSERVE, PREDICT
from serving.engine.base import Engine, ModelMetadata
from serving.errors import ModelNotReady, ServingError
from serving.limits import Limits
from serving.protocols import v2_response
from serving.protocols.current import on_current
from serving.protocols.readiness import Readiness
from serving.protocols.route import Answered, HttpRequest, Pending, Reply, Route, Told, version_of
from serving.protocols.v2_describe import config_json, metadata_json, statistics_json
from serving.protocols.v2_request import Decoder, V2Request
from serving.request import InferRequest, InferResponse

#: The extensions of the protocol that this server speaks.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
)


class V2:
    """The protocol's routes on one engine. `every_model`: see Readiness."""

    def __init__(self, engine: Engine, limits: Limits, *, every_model: bool = False) -> None:
        self._engine = engine
        self._ready = Readiness(engine, every_model=every_model)
        self._limits = limits
        self._decoder = Decoder(limits)
        self._server = {"name": "sameway", "version": importlib.metadata.version("sameway"), "extensions": EXTENSIONS}

    def routes(self) -> list[Route]:
        """Return the routes; those of a model exist with and without a version."""
        routes = [
            Route("GET", "/v2", self.server_metadata, scopes=ANYONE),
            Route("GET", "/v2/", self.server_metadata, scopes=ANYONE),
            Route("GET", "/v2/health/live", self.live, scopes=ANYONE),
            Route("GET", "/v2/health/ready", self.ready, scopes=ANYONE),
            Route("GET", "/v2/models", self.models, scopes=DESCRIBE),
            Route("GET", "/v2/models/stats", self.statistics, scopes=OBSERVE),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route("GET", path, self.model_metadata, scopes=DESCRIBE),
                Route("GET", f"{path}/ready", self.model_ready, scopes=DESCRIBE),
                Route("GET", f"{path}/config", self.config, scopes=DESCRIBE),
                Route("GET", f"{path}/stats", self.statistics, scopes=OBSERVE),
                Route(
                    "POST",
                    f"{path}/infer",
                    self.infer,
                    inference=True,
                    body="infer",
                    scopes=PREDICT,
                    several=self.infer_several,
                ),
            ]
        return routes

    def server_metadata(self, _request: HttpRequest) -> Reply:
        """Say who this server is."""
        return _json(self._server)

    def live(self, _request: HttpRequest) -> Reply:
        """Say that this process answers, and that every model it runs makes progress."""
        if not self._engine.alive():
            raise ModelNotReady("an instance of a model makes no progress; the process needs to be replaced")
        return _json({"live": True})

    def ready(self, _request: HttpRequest) -> Reply:
        """Say whether this server should be sent requests."""
        if not self._ready():
            why = f": {', '.join(self._ready.missing):.500} could not be opened" if self._ready.missing else ""
            raise ModelNotReady(f"the server is not ready{why}", retry_after_seconds=1)
        return _json({"ready": True})

    def models(self, _request: HttpRequest) -> Reply:
        """Name the models of the repository, as KServe does."""
        return _json({"models": sorted({status.name for status in self._engine.index()})})

    def model_metadata(self, request: HttpRequest) -> Reply:
        """Say what a model takes and gives."""
        return _json(metadata_json(self._metadata(request)))

    def config(self, request: HttpRequest) -> Reply:
        """Say how a model is served."""
        metadata = self._metadata(request)
        return _json(config_json(metadata, self._engine.config(metadata.name, metadata.version)))

    def statistics(self, request: HttpRequest) -> Reply:
        """Say what one model, or every model, has done since it was loaded."""
        model = request.parameters.get("model")
        found = self._engine.statistics(model, version_of(request.parameters))
        return _json({"model_stats": [statistics_json(statistics) for statistics in found]})

    def model_ready(self, request: HttpRequest) -> Reply:
        """Say whether a model can answer."""
        name, version = request.parameters["model"], version_of(request.parameters)
        if not self._engine.ready(name, version):
            self._engine.metadata(name, version)  # which says why, where the reason is the model's
            raise ModelNotReady(f"model {name!r} is not ready: the server is shutting down")
        return _json({"name": name, "ready": True})

    def infer(self, request: HttpRequest) -> Pending:
        """Run a model on the tensors in the body."""
        model, version = request.parameters["model"], version_of(request.parameters)
        return on_current(self._engine, model, version, lambda metadata: self._infer(request, metadata))

    def infer_several(self, requests: Iterator[HttpRequest]) -> list[Told]:
        """Run a model that is cheap on the tensors of as many requests as make one batch, here and now.

        A lone request is one of several, too. Nothing is waited for, so that nobody can leave, and no time pass, meanwhile.
        """
        first = next(requests)
        parameters = first.parameters
        metadata = self._engine.metadata(parameters["model"], version_of(parameters))
        signature = metadata.signature
        most = self._engine.cheap_rows(metadata.name, metadata.version) if signature.batched else 0
        if not most:
            return []
        answers: list[Told] = []
        wishes: list[V2Request] = []
        places: list[int] = []
        rows = 0
        latest = time.monotonic() - metadata.timeout_seconds
        for request in itertools.chain((first,), requests):
            try:
                wish = self._read(request, signature)
                rows += len(next(iter(wish.inputs.values())))
                if rows > most and answers:
                    request.read = signature, wish
                    break
                # Who has a time or a rank of his own, or no time left, is treated so where requests wait.
                plain = wish.timeout_seconds is None and not wish.priority and request.received > latest
                if plain and rows <= most:
                    places.append(len(answers))
                    wishes.append(wish)
                else:
                    request.read = signature, wish
            except ServingError as error:
                request.read = signature, error
            answers.append(None)
        if not wishes:
            return answers
        responses = self._engine.run_now(metadata.name, metadata.version, [wish.inputs for wish in wishes])
        for place, wish, response in zip(places, wishes, responses or (), strict=False):
            encoding = time.monotonic()
            response.id = wish.id
            if wish.outputs is not None:
                response.outputs = {name: response.outputs[name] for name in wish.outputs}
            try:
                answers[place] = Answered(self._encode(response, wish, metadata), response, encoding)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this one's alone
                answers[place] = error
        return answers

    def _read(self, request: HttpRequest, signature: Signature) -> V2Request:
        """Return what a request says; of one that was read for this very signature before, without reading it again."""
        read, request.read = request.read, None
        if read is not None and read[0] is signature:
            if isinstance(read[1], ServingError):
                raise read[1]
            wish: V2Request = read[1]
            return wish
        return self._decoder.decode(request, signature)

    def _encode(self, response: InferResponse, wish: V2Request, metadata: ModelMetadata) -> Reply:
        told = None if metadata.content is None else metadata.content.output
        labels = told.labels if isinstance(told, LabelContent) else ()
        answer = v2_response.encode(response, wish, metadata.signature, labels, self._limits)
        return Reply(200, answer.body, answer.media_type, answer.headers)

    def _infer(self, request: HttpRequest, metadata: ModelMetadata) -> Pending:
        """Run one version on the tensors in the body."""
        signature = metadata.signature
        wish = self._read(request, signature)
        # A client may ask for less time than the model's own timeout, which is the longest that a shutdown waits for.
        seconds = min(wish.timeout_seconds or metadata.timeout_seconds, metadata.timeout_seconds)
        deadline = request.received + seconds
        future = self._engine.submit(
            InferRequest(
                metadata.name,
                metadata.version,
                wish.inputs,
                outputs=None if wish.outputs is None else tuple(wish.outputs),
                id=wish.id,
                deadline=deadline,
                priority=wish.priority,
            )
        )

        return Pending(future, deadline, lambda response: self._encode(response, wish, metadata))

    def _metadata(self, request: HttpRequest) -> ModelMetadata:
        return self._engine.metadata(request.parameters["model"], version_of(request.parameters))


def _json(value: object) -> Reply:
    return Reply(200, orjson.dumps(value))
