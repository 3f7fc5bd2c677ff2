"""HTTP without a server: requests, replies, and the routes that handlers are mounted on.

A handler never waits. It returns a Reply, or a Pending around the engine's future; how to wait for that is the front
end's business. dispatch.py is the way that every request takes through all this.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from serving.access import OBSERVE, Admission
from serving.engine.answer import Answer
from serving.errors import (
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    ServingError,
    Unauthorized,
)
from serving.keys import Scope
from serving.request import InferResponse

JSON = "application/json"
#: How many paths are remembered, and how long they may be.
_FOUND_PATHS, _FOUND_CHARACTERS = 512, 200
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)

Headers = tuple[tuple[str, str], ...]
_NONE: Mapping[str, str] = MappingProxyType({})


# Requests and replies are not frozen: that takes four times as long to make, and there are several for every request. What
# a request is known to be fills up on its way; a reply is its handler's own, and gets the headers of every answer.


@dataclass(slots=True)
class HttpRequest:
    """A whole request. Header names are in lower case; `path` is percent-decoded once; `received` is a monotonic time.

    `address` is the peer's; `on_management` tells that the listener for management took the connection. `parameters` and
    `admission` are there once it was let in, and `body` is inflated then. `headers` may be those of other requests too.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received: float
    address: str | None = None
    #: What the route's pattern found in the path.
    parameters: Mapping[str, str] = field(default_factory=lambda: _NONE)
    on_management: bool = False
    admission: Admission | None = None
    #: What is held of the body beyond its bytes on the wire.
    inflated_bytes: int = 0
    #: What its route has read in the body, and for whom, where it was to be answered and could not be yet.
    read: tuple[object, Any] | None = None  # Any: the route's own


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Headers = ()


@dataclass(slots=True)
class Pending:
    """An answer to come. `deadline` is a monotonic time; `encode` turns what the future brings into a Reply."""

    future: "Answer[Any] | Future[Any]"  # Any: an InferResponse for inference, nothing for loading
    deadline: float
    encode: Callable[[Any], Reply]


@dataclass(slots=True)
class Answered:
    """An answer that needed no waiting: a model's own and, since when (monotonic) it was encoded, how it is told."""

    reply: Reply
    response: InferResponse
    encoding: float


Handler = Callable[[HttpRequest], Reply | Pending]

#: What one of several requests is told. None: it is to be handled alone, which says what is the matter with it; an error:
#: it was computed, and cannot be told.
Told = Answered | Exception | None

#: Answers the first of several requests for the same path at once, as many as that is good for, and none of them if it is
#: for none. It takes no more of them than it may answer, and one.
HandlerOfSeveral = Callable[[Iterator[HttpRequest]], list[Told]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path and who handles it. `{name}` in the path stands for one segment that is not empty.

    The outcome of an `inference` route's requests is counted under the path's `{model}`. `body` names what the route
    takes, in the terms of openapi.py, None for nothing. The first line of the handler's docstring is its summary.
    `several` answers requests of an `inference` route that have come together, where they can be answered at once.
    `waits` says that the handler may return a Pending; one of an `inference` route always may.
    `scopes` says which keys open it, where there are keys (see access.py); a route that says nothing is for operators.
    """

    method: str
    path: str
    handler: Handler
    inference: bool = False
    body: str | None = None
    scopes: frozenset[Scope] | None = OBSERVE
    waits: bool = False
    several: HandlerOfSeveral | None = None


class Paths:
    """Finds a path's route: one entry per path, holding its methods."""

    def __init__(self, routes: Iterable[Route]) -> None:
        # A path without parameters is found by a dictionary; one with them by another, of the patterns that have as many
        # segments and the same last one (None where that is a parameter): of all those it could be few are left.
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: dict[tuple[int, str | None], dict[re.Pattern[str], dict[str, Route]]] = {}
        # What paths with parameters were found to mean: the same few are asked for over and over.
        self._found: dict[str, tuple[dict[str, Route], Mapping[str, str]]] = {}
        for route in routes:
            if "{" in route.path:
                last = route.path.rpartition("/")[2]
                key = (route.path.count("/"), None if "{" in last else last)
                self._patterns.setdefault(key, {}).setdefault(_pattern(route.path), {})[route.method] = route
            else:
                self._fixed.setdefault(route.path, {})[route.method] = route

    def match(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the route and what its path holds; raise NotFound or MethodNotAllowed. HEAD is a GET with no body sent."""
        methods, parameters = self._fixed.get(path), _NONE
        if methods is None:
            known = self._found.get(path)
            methods, parameters = known or self._match_pattern(path)
            if known is None and len(path) <= _FOUND_CHARACTERS:
                if len(self._found) >= _FOUND_PATHS:  # whoever asks for ever new ones gets nothing but his own way back
                    self._found = {}
                self._found[path] = methods, parameters
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
            raise MethodNotAllowed.at("method", expected=allowed, found=method)
        return route, parameters

    def _match_pattern(self, path: str) -> tuple[dict[str, Route], Mapping[str, str]]:
        """Return the routes of a path with parameters, and those; a last segment goes before a parameter in its place."""
        segments = path.count("/")
        for key in ((segments, path.rpartition("/")[2]), (segments, None)):
            for pattern, methods in self._patterns.get(key, {}).items():
                if found := pattern.fullmatch(path):
                    return methods, found.groupdict()
        raise NotFound(f"no such path: {path!r:.200}")


def error_reply(error: ServingError) -> Reply:
    """Return an error as every front end sends it."""
    headers: list[tuple[str, str]] = []
    if error.retry_after_seconds is not None:
        headers.append(("retry-after", str(error.retry_after_seconds)))
    if isinstance(error, MethodNotAllowed) and error.expected:
        headers.append(("allow", error.expected))
    if isinstance(error, Unauthorized):
        headers.append(("www-authenticate", "Bearer"))
    return Reply(error.http_status, orjson.dumps(error.to_json()), headers=tuple(headers))


def version_of(parameters: Mapping[str, str]) -> int | None:
    """Return the version a path names, None where it names none; raise ModelNotFound for one that is no number."""
    text = parameters.get("version")
    if text is None:
        return None
    if not _VERSION.fullmatch(text):
        raise ModelNotFound(f"version: expected a number, found {text!r:.50}", field="version")
    return int(text)


def _pattern(path: str) -> re.Pattern[str]:
    """Return the regular expression of a path with `{name}` segments."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
