"""/openapi.json, built from the routes themselves: every front end offers the same document.

Examples are real inputs of the models that are loaded. https://spec.openapis.org/oas/v3.1.0
"""

import importlib.metadata
import re
from collections.abc import Sequence

import orjson

from models.tensors import DTYPES
from serving.access import DESCRIBE
from serving.engine.base import Engine, ModelMetadata, State
from serving.errors import ServingError
from serving.protocols.json_body import Json
from serving.protocols.route import HttpRequest, Reply, Route
from serving.protocols.v2_json import carries
from serving.protocols.v2_request import HEADER_LENGTH

_ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "what went wrong, for people"},
        "code": {"type": "string", "description": "the kind of error, for programs"},
        "field": {"type": "string"},
        "expected": {"type": "string"},
        "found": {"type": "string"},
    },
}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_INPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": list(DTYPES)},
        "parameters": {**_PARAMETERS, "description": "binary_data_size: bytes of this tensor behind the JSON"},
        "data": {"type": "array", "description": "the values in row-major order, flat or nested as the shape says"},
    },
}
_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": {**_PARAMETERS, "description": "binary_data: true for raw bytes; classification: how many classes"},
    },
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 256},
        "parameters": {**_PARAMETERS, "description": "binary_data_output, timeout (µs), priority"},
        "inputs": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/InferInput"}},
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/InferOutput"}},
    },
}


class OpenApi:
    """The route that describes all the others."""

    def __init__(self, routes: Sequence[Route], engine: Engine) -> None:
        self._routes = routes
        self._engine = engine

    def routes(self) -> list[Route]:
        """Return the route."""
        # It names models and shows their inputs, so it takes what their metadata takes.
        return [Route("GET", "/openapi.json", self.document, scopes=DESCRIBE)]

    def document(self, _request: HttpRequest) -> Reply:
        """Describe every route of this server."""
        models = self._models()
        paths: dict[str, Json] = {}
        for route in self._routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, models)
        document = {
            "openapi": "3.1.0",
            "info": {
                "title": "Sameway",
                "version": importlib.metadata.version("sameway"),
                "description": "Open Inference Protocol V2, and /predict for people.",
            },
            "paths": paths,
            "components": {
                "schemas": {"Error": _ERROR, "InferRequest": _INFER, "InferInput": _INPUT, "InferOutput": _OUTPUT},
            },
        }
        return Reply(200, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))

    def _models(self) -> list[ModelMetadata]:
        """Return what is known of the models that are ready."""
        found = []
        for status in self._engine.index():
            if status.state is State.READY:
                try:
                    found.append(self._engine.metadata(status.name))
                except ServingError:  # unloaded in this very moment
                    continue
        return found


def _operation(route: Route, models: Sequence[ModelMetadata]) -> Json:
    """Return what is to be said of one method of one path."""
    summary = (route.handler.__doc__ or "").strip().splitlines()[0]
    error = {"description": "an error", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    operation: Json = {
        "summary": summary,
        "responses": {"200": {"description": "done"}, "4XX": error, "5XX": error},
    }
    names = re.findall(r"{(\w+)}", route.path)
    operation["parameters"] = [_path_parameter(name, models) for name in names]
    if route.body == "infer":
        operation["parameters"].append(_HEADER_LENGTH)
    if route.body is not None:
        operation["requestBody"] = _BODIES[route.body](models)
    return operation


def _path_parameter(name: str, models: Sequence[ModelMetadata]) -> Json:
    known = [model.name if name == "model" else str(model.version) for model in models]
    schema: Json = {"type": "string", "minLength": 1}
    example: Json = {"example": known[0]} if known else {}
    return {"name": name, "in": "path", "required": True, "schema": schema, **example}


_HEADER_LENGTH = {
    "name": HEADER_LENGTH,
    "in": "header",
    "required": False,
    "description": "bytes of JSON before the raw tensors; 0: the body is one raw tensor",
    "schema": {"type": "integer", "minimum": 0},
}


def _infer_body(models: Sequence[ModelMetadata]) -> Json:
    examples = {model.name: {"value": _example(model)} for model in models if model.example and _in_json(model)}
    content: Json = {"schema": {"$ref": "#/components/schemas/InferRequest"}}
    if examples:
        content["examples"] = examples
    return {
        "required": True,
        "content": {
            "application/json": content,
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }


def _in_json(model: ModelMetadata) -> bool:
    return all(carries(spec.datatype) for spec in (*model.signature.inputs, *model.signature.outputs))


def _example(model: ModelMetadata) -> Json:
    """Return an inference request for a model, with a real input."""
    inputs = [
        {
            "name": spec.name,
            "shape": list(model.example[spec.name].shape),
            "datatype": spec.datatype,
            "data": model.example[spec.name].ravel().tolist(),
        }
        for spec in model.signature.inputs
    ]
    return {"inputs": inputs}


def _content_body(_: Sequence[ModelMetadata]) -> Json:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
    content: Json = {"image/png": binary, "image/jpeg": binary, "multipart/form-data": form}
    # A record, or {"text": …}; a text also as it is.
    content |= {"application/json": {"schema": {"type": "object"}}, "text/plain": {"schema": {"type": "string"}}}
    return {"required": True, "content": content}


def _index_body(_: Sequence[ModelMetadata]) -> Json:
    schema = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def _management_body(_: Sequence[ModelMetadata]) -> Json:
    schema = {"type": "object", "properties": {"parameters": {"type": "object"}}}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


_BODIES = {"infer": _infer_body, "content": _content_body, "index": _index_body, "management": _management_body}
