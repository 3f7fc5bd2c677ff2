"""The server under test as whoever asks it one thing at a time: what it serves, one inference, its metrics.

The load itself does not come this way. Everything that can be wrong with an address, a key or a model's name is found here,
before there is any.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import quote, urlsplit

#: Whoever has not answered a single question by then is not there.
_PATIENCE_SECONDS = 10.0


class CannotRun(Exception):
    """The test could not be started; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how it is asked: `headers` go with every request (a key), `ca` is a file of who is trusted."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None
    patience_seconds: float = _PATIENCE_SECONDS

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:  # a port that is no number
            sound = False
        if not sound or parts.query or parts.fragment or parts.username:
            raise CannotRun(f"url: expected http://host:port, found {self.url!r}")

    @property
    def on_loopback(self) -> bool:
        """Whether the server shares this machine with the generator."""
        return (urlsplit(self.url).hostname or "") in ("127.0.0.1", "localhost", "::1")

    def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request; raise OSError or HTTPException where no answer comes. Redirects are not followed."""
        request = urllib.request.Request(self.url + path, data=body, headers={**self.headers, **(headers or {})})  # noqa: S310 - http(s), checked above
        handlers: list[Any] = [_NoRedirects(), urllib.request.ProxyHandler({})]
        if self.url.startswith("https"):
            handlers.append(urllib.request.HTTPSHandler(context=self._tls()))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(request, timeout=self.patience_seconds) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lower(error.headers), error.read())

    def metadata(self, model: str) -> dict[str, Any]:
        """Return what the server says of a model; raise CannotRun where there is no server, or no such model. Any: JSON."""
        try:
            answer = self.ask(f"/v2/models/{quote(model, safe='')}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(reason := getattr(error, "reason", None), ssl.SSLError):
                told = f"expected a certificate that is trusted here (--ca FILE), found: {reason}"
                raise CannotRun(f"{self.url}: {told}") from error
            raise CannotRun(f"{self.url}: no Open Inference Protocol server answers there: {error}") from error
        if answer.status != 200:
            told = " ".join(answer.body.decode(errors="replace").split())[:300]
            raise CannotRun(f"{self.url}: model {model!r}: expected status 200, found {answer.status}: {told}")
        try:
            found = json.loads(answer.body)
            for kind in ("inputs", "outputs"):
                [(tensor["name"], tensor["datatype"], list(tensor["shape"])) for tensor in found[kind]]
        except (ValueError, KeyError, TypeError) as error:
            told = repr(answer.body[:120])
            raise CannotRun(f"{self.url}: no Open Inference Protocol server answers there: found {told}") from error
        return dict(found)

    def identity(self) -> dict[str, Any]:
        """Return what the server says of itself (`GET /v2`); empty where it says nothing. Any: JSON."""
        try:
            answer = self.ask("/v2")
            found = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise CannotRun(f"ca: expected a PEM file of certificates, found {self.ca}: {error}") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An API that sends its clients elsewhere is an error to be shown, not to be followed."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
