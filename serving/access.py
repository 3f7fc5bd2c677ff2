"""Who may do what: the one decision about a request that is made before anything of its body is looked at.

It is made on the route that the path was found to mean, never on the path's text, so that no other spelling of a path
goes around it; and on the listener that took the connection, never on the Host header, which a client writes.
"""

import threading
from collections.abc import Mapping

from serving.errors import Forbidden, Overloaded, Unauthorized
from serving.keys import Key, Keys, Scope

#: Which scopes let a request pass; one of them is enough.
PREDICT = frozenset({Scope.PREDICT})
OBSERVE = frozenset({Scope.OBSERVE})
MANAGE = frozenset({Scope.MANAGE})
#: What a model takes and gives: whoever asks it has to know, and whoever watches it may.
DESCRIBE = PREDICT | OBSERVE
#: No key at all: whether the process is alive and ready says nothing about its models.
ANYONE: frozenset[Scope] | None = None

#: Seconds after which a client with too many requests under way may try again: most last less.
_RETRY_SECONDS = 1


class Admission:
    """One request that was let in. It is ended once, however the request ends; a second end changes nothing."""

    __slots__ = ("_places", "client")

    def __init__(self, places: threading.Semaphore | None, client: str | None) -> None:
        self._places = places
        #: The name of the key that the request presented, None where there are no keys.
        self.client = client

    def end(self) -> None:
        """Give back the place among its key's requests."""
        places, self._places = self._places, None
        if places is not None:
            places.release()


#: The admission of whoever has no key where none is needed: there is nothing to give back.
_NOBODY = Admission(None, None)


class Access:
    """Admits requests or refuses them. Thread-safe. Without keys everybody is admitted."""

    def __init__(self, keys: Keys | None = None, *, management_listener: bool = False) -> None:
        """`management_listener`: models are loaded and unloaded over a listener of their own, and over no other."""
        self._keys = keys
        self._management_listener = management_listener
        self._places: dict[str, threading.Semaphore] = {
            key.name: threading.BoundedSemaphore(key.concurrent)
            for key in (() if keys is None else keys.all)
            if key.concurrent is not None
        }

    @property
    def open(self) -> bool:
        """Whether there are no keys: then nothing is refused for want of one."""
        return self._keys is None

    def check(self, scopes: frozenset[Scope] | None, headers: Mapping[str, str], *, on_management: bool) -> Key | None:
        """Return the key of a request that may pass; raise Unauthorized or Forbidden. Takes no place."""
        key = None
        if scopes is not None and self._keys is not None:
            key = self._identify(self._keys, headers)
            if not key.scopes & scopes:
                raise Forbidden(f"this key lacks the scope: expected {' or '.join(sorted(scopes))}")
        if scopes == MANAGE:
            self._check_management(headers, on_management=on_management)
        elif scopes == PREDICT and on_management:
            raise Forbidden("models are not asked over the listener for management")
        return key

    def admit(self, scopes: frozenset[Scope] | None, headers: Mapping[str, str], *, on_management: bool) -> Admission:
        """Let a request in; raise Unauthorized or Forbidden, or Overloaded where its key has too many under way."""
        if self._keys is None and scopes is PREDICT and not on_management:
            return _NOBODY  # what `check` would find, on the path of every request
        key = self.check(scopes, headers, on_management=on_management)
        places = None if key is None else self._places.get(key.name)
        if places is not None and not places.acquire(blocking=False):
            raise Overloaded("this key has as many requests under way as it may", retry_after_seconds=_RETRY_SECONDS)
        return Admission(places, None if key is None else key.name)

    def client(self, headers: Mapping[str, str]) -> str | None:
        """Return the name of the key that the headers present, None where that is none of ours: for whoever was refused."""
        presented = None if self._keys is None else _presented(headers)
        key = None if self._keys is None or presented is None else self._keys.find(presented)
        return None if key is None else key.name

    def _identify(self, keys: Keys, headers: Mapping[str, str]) -> Key:
        """Return the key that the headers present; raise Unauthorized, with one message for none and for a wrong one."""
        presented = _presented(headers)
        key = None if presented is None else keys.find(presented)
        if key is None:
            raise Unauthorized("expected a known key, as `Authorization: Bearer <key>` or `X-API-Key: <key>`")
        return key

    def _check_management(self, headers: Mapping[str, str], *, on_management: bool) -> None:
        """Raise Forbidden for managing over another listener and, where no key protects it, from a web page."""
        if self._management_listener and not on_management:
            raise Forbidden("models are managed over a listener of their own")
        if self._keys is None and made_by_a_page(headers):
            raise Forbidden("a web page made this request; models are managed by programs")


def made_by_a_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a browser made a request for a web page: any page can post to a loopback address of its reader.

    Browsers name the page in `Origin` on every POST; whose page it is does not matter, for this server has none.
    """
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def _presented(headers: Mapping[str, str]) -> str | None:
    """Return the key in the headers: X-API-Key where there is one, for Authorization may be a proxy's."""
    key = headers.get("x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None
