"""Keys on real servers: no spelling of a path and no header goes around the scope that a route asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.keys import Scope
from tests import toys
from tests.serving import credentials
from tests.serving.credentials import SCOPES, bearer, text_of
from tests.serving.desk import infer_body
from tests.serving.live import Answer, Connection, LiveServer, request, serving
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
        "encoded slash": f"{first or '/'}%2f{last}",
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


class Asker:
    """Asks over one connection, and over a new one where the server has closed it."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._connection = server.connect()

    def ask(self, verb: str, path: str, *headers: str) -> Answer:
        answer = self._connection.send(request(verb, path, b"{}", *headers)).answer(head=verb == "HEAD")
        if answer.headers.get("connection") == "close":
            self.close()
            self._connection = self._server.connect()
        return answer

    def close(self) -> None:
        self._connection.socket.close()


@pytest.mark.parametrize("holder", PRESENTED)
def test_no_request_passes_without_its_scope(server: LiveServer, holder: str) -> None:
    """Every route, method and spelling on the main listener, where nobody manages models."""
    held = SCOPES.get(holder, frozenset())
    asker, asked, passed = Asker(server), 0, 0
    for (method, pattern), wanted in TABLE.items():
        if wanted is None:
            continue
        path = pattern.replace("{model}", "toy").replace("{version}", "1")
        may = bool(wanted & held) and wanted != {Scope.MANAGE}
        for verb in dict.fromkeys((method, "HEAD", "GET", "POST", "PUT", "OPTIONS")):
            for spelling in spellings(path).values():
                answer = asker.ask(verb, spelling, *PRESENTED[holder])
                asked += 1
                passed += answer.status == 200
                # A body of {} is no request for inference: a 400 would mean that it was looked at.
                assert answer.status in ((200, 400, 401, 403, 404, 405) if may else (401, 403, 404, 405)), (verb, spelling)
    asker.close()
    assert asked > 1000
    assert (passed > 0) == bool(held - {Scope.MANAGE})


@pytest.mark.parametrize("holder", PRESENTED)
@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_are_managed_over_their_own_listener_with_a_key_for_it(server: LiveServer, holder: str, verb: str) -> None:
    data = request("POST", f"/v2/repository/models/nobody/{verb}", b"", *PRESENTED[holder])
    with Connection(server.management_port) as connection:
        status = connection.send(data).answer().status
    assert status == (404 if holder in ("manage", "all") else 403 if holder in SCOPES else 401)
    for host in (f"127.0.0.1:{server.management_port}", "localhost"):
        with server.connect() as connection:
            named = data.replace(b"host: test", f"host: {host}".encode())
            assert connection.send(named).answer().status == (403 if holder in SCOPES else 401)


def test_the_listener_for_management_answers_probes_and_no_requests_for_inference(server: LiveServer) -> None:
    with Connection(server.management_port) as connection:
        assert connection.send(request("GET", "/v2/health/ready")).answer().status == 200
        infer = request("POST", "/v2/models/toy/infer", infer_body(toys.images(1)), *PRESENTED["all"])
        assert connection.send(infer).answer().status == 403


def test_a_body_is_not_waited_for_where_the_key_is_wrong(server: LiveServer) -> None:
    head = b"POST /v2/models/toy/infer HTTP/1.1\r\nhost: test\r\ncontent-length: 30000000\r\n\r\n"
    with server.connect() as connection:
        answer = connection.send(head).answer()  # and not one byte of the body
        assert (answer.status, answer.headers["connection"]) == (401, "close")


def test_clients_that_leave_and_errors_give_their_places_back(server: LiveServer) -> None:
    slow = request("POST", "/v2/models/slow/infer", infer_body(toys.images(1)), *PRESENTED["predict"])
    metrics = bearer("observe")

    def waiting(count: int) -> bool:
        return server.value("sameway_queue_rows", headers=metrics, model="slow") == count

    for _ in range(3):
        connections = [server.connect().send(slow) for _ in range(4)]
        server.until(lambda: waiting(4), "waiting")
        with server.connect() as connection:
            answer = connection.send(slow).answer()
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        for connection in connections:
            connection.socket.close()
        server.until(lambda: waiting(0), "left")
        server.until(lambda: server.value("sameway_in_flight", headers=metrics) == 0, "ended")
    for path in ("/v2/models/toy/infer", "/v2/models/nobody/infer", "/predict/toy", "/metrics"):
        for _ in range(6):
            assert server.ask("POST", path, b"{", bearer("predict")).status in (400, 404, 405)
    assert server.ask("POST", "/v2/models/toy/infer", infer_body(toys.images(1)), bearer("predict")).status == 200


def test_a_file_of_keys_that_others_may_read_is_warned_of_and_serves(tmp_path: Path) -> None:
    toys.publish(tmp_path / "models")
    keys = credentials.write(tmp_path)
    keys.chmod(0o644)
    with serving(tmp_path / "models", "--keys", str(keys)) as server:
        warnings = [line for line in server.log if "level=WARNING" in line]
        assert len(warnings) == 1
        assert "event=keys_exposed" in warnings[0]
        assert "others may read it" in warnings[0]
