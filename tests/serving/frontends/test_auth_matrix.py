"""Keys on real servers: no spelling of a path and no header goes around the scope that a route asks for."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toys
from tests.serving import credentials
from tests.serving.credentials import SCOPES, bearer, text_of
from tests.serving.desk import infer_body
from tests.serving.live import LiveServer, request, serving
from tests.serving.test_authorisation import TABLE

#: A request that waits long enough to be cut, or to see its neighbour refused.
SLOW = "queue_delay_seconds = 10\ntimeout_seconds = 60\nqueue_rows = 100"


@pytest.fixture(scope="module", params=["fastapi", "flask"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("matrix")
    toys.publish(root, "toy")
    toys.publish(root, "slow")
    (root / "slow" / "config.toml").write_text(SLOW)
    keys = credentials.write(tmp_path_factory.mktemp("keys"), concurrent=4)
    with serving(root, "--frontend", request.param, "--keys", str(keys), "--management-port", "0") as server:
        yield server


def spellings(path: str) -> dict[str, str]:
    """Return a path as clients may spell it who hope that a guard reads it otherwise than the routes do."""
    first, _, last = path.rpartition("/")
    return {
        "plain": path,
        "double slash": f"/{path}",
        "double inside": f"{first}//{last}",
        "trailing slash": f"{path}/",
        "dot": f"/.{path}",
        "encoded dot": f"/%2e{path}",
        "up": f"/v2/health/live/../../..{path}",
        "encoded up": f"/v2/health/%2e%2e/..{path}",
        "upper case": path.upper(),
        "encoded letter": f"{first}/%{ord(last[:1] or 'v'):02x}{last[1:]}",
        "encoded slash": f"{first}%2f{last}",
        "encoded twice": f"{first}/%25{ord(last[:1] or 'v'):02x}{last[1:]}",
        "semicolon": f"{path};x=/v2/health/live",
        "null": f"{path}%00",
        "query": f"{path}?path=/v2/health/live",
        "absolute form": f"http://127.0.0.1{path}",
        "absolute form of another": f"http://health.example/v2/health/live/..{path}",
    }


PRESENTED: dict[str, list[str]] = {
    "no key": [],
    "wrong key": ["authorization: Bearer sameway_wrong"],
    "empty key": ["x-api-key:"],
    "host": ["x-forwarded-host: 127.0.0.1", "x-original-url: /v2/health/live", "x-rewrite-url: /v2/health/live"],
    **{name: [f"authorization: Bearer {text_of(name)}"] for name in SCOPES},
}


@pytest.mark.parametrize("holder", PRESENTED)
def test_no_request_passes_without_its_scope(server: LiveServer, holder: str) -> None:
    """Every route, method and spelling: an answer of 200 takes the scope, and the listener."""
    held = SCOPES.get(holder, frozenset())
    asked = passed = 0
    for (method, pattern), wanted in TABLE.items():
        path = pattern.replace("{model}", "toy").replace("{version}", "1")
        if wanted is None or (pattern.endswith("load") and holder in ("manage", "all")):
            continue
        open_to_holder = bool(wanted & held) and not pattern.endswith("load")
        with server.connect() as connection:
            for verb in (method, "HEAD", "GET", "POST", "PUT", "OPTIONS"):
                for spelling in spellings(path).values():
                    data = request(verb, spelling, b"{}", *PRESENTED[holder])
                    answer = connection.send(data).answer(head=verb == "HEAD")
                    asked += 1
                    passed += answer.status < 400
                    assert answer.status < 500, (verb, spelling, answer)
                    if not open_to_holder and answer.status not in (401, 403, 404, 405):
                        # Two spellings may mean a route that is open to everybody, and then answer as that does.
                        assert spelling.endswith(("/v2", "/v2/")), (verb, spelling, answer)
                    if answer.headers.get("connection") == "close":
                        connection.socket.close()
                        connection.__init__(server.port)  # type: ignore[misc]
    assert asked > 1500
    assert passed == 0 if not held or holder == "manage" else passed > 0
