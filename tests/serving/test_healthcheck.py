"""The images' health check, against real servers and against none."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.repository import make_folder
from proofs import telling
from proofs.server import Server
from serving import healthcheck
from serving.settings import Settings
from tests.serving import certificates

ROOT = Path(__file__).parents[2]


def check(**variables: str) -> tuple[int, str]:
    """Run the check as an image does; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.healthcheck"], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "127.0.0.1"])
def test_a_server_that_is_ready_passes(tmp_path: Path, everywhere: str) -> None:
    telling.publish(tmp_path)
    server = Server.start(tmp_path)
    try:
        server.ready()
        assert check(SAMEWAY_HOST=everywhere, SAMEWAY_PORT=str(server.port)) == (0, "")
    finally:
        server.kill()


def test_over_tls_the_certificates_name_is_nobodys_business(tmp_path: Path) -> None:
    telling.publish(tmp_path / "models")
    certificate, key = certificates.write(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sameway = str(Path(sys.executable).with_name("sameway"))
    tls = {"SAMEWAY_TLS_CERTIFICATE": str(certificate), "SAMEWAY_TLS_KEY": str(key)}
    variables = {"SAMEWAY_REPOSITORY": str(tmp_path / "models"), "SAMEWAY_PORT": str(port), **tls}
    with subprocess.Popen([sameway, "serve"], cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "event=listening" in line:
                    break
            code, said = 1, ""
            while code and server.poll() is None:  # until it has loaded
                code, said = check(SAMEWAY_PORT=str(port), SAMEWAY_TLS_CERTIFICATE=str(certificate))
            assert (code, said) == (0, "")
            assert check(SAMEWAY_PORT=str(port))[0] == 1  # asked in plain HTTP
        finally:
            server.kill()


def test_a_server_without_a_model_is_not_ready(tmp_path: Path) -> None:
    make_folder(tmp_path / "models")
    server = Server.start(tmp_path / "models")
    try:
        assert check(SAMEWAY_PORT=str(server.port)) == (1, f"not ready: 127.0.0.1:{server.port} answered 503\n")
        server.until(lambda: server.logged("no_models") == 1, "warned of")
    finally:
        server.kill()


def test_nobody_listening_is_not_ready_and_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code, said = check(SAMEWAY_PORT=str(port))
    assert (code, said) == (1, f"no answer on 127.0.0.1:{port}: [Errno 111] Connection refused\n")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("dribbles", [False, True])
def test_all_steps_together_have_one_time(dribbles: bool, tls: bool) -> None:
    """Who says nothing is given up after it, and so is who goes on saying a little, each time within a socket's timeout."""
    over = threading.Event()

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as peer:
            peer.sendall(b"\x16\x03\x03\x40\x00" if tls else b"HTTP/1.1 200 ")  # the head of a record; a status without end
            while not over.wait(0.05):
                if dribbles:
                    peer.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        slow = threading.Thread(target=answer, args=(listener,))
        slow.start()
        asked = time.monotonic()
        found = healthcheck.problem(
            {"SAMEWAY_PORT": str(port), "SAMEWAY_TLS_CERTIFICATE": "here" if tls else ""}, seconds=0.5
        )
        took = time.monotonic() - asked
        over.set()
        slow.join()
    assert found == f"no answer on 127.0.0.1:{port} within 0.5 s"
    assert took < 5


def test_a_command_that_gives_up_ends_at_once() -> None:
    """What it still waits for does not keep its process."""
    program = "import sys; from serving import healthcheck as h; h.problem.__defaults__ = (0.2,); sys.exit(h.main())"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT, env={"SAMEWAY_PORT": str(port)}, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, f"no answer on 127.0.0.1:{port} within 0.2 s\n", "")


def test_it_gives_up_before_the_image_does() -> None:
    timeouts = re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s .*healthcheck", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert timeouts
    assert min(map(int, timeouts)) >= healthcheck.SECONDS + 2  # in which an interpreter starts, on a busy machine too


@pytest.mark.parametrize(
    "port", ["", "abc", "0", "70000", "-1", "80 ", " 80", "80.0", "8_0", "+80", "\uff18\uff10", "9" * 5000]
)
def test_a_port_that_is_none_is_named(port: str) -> None:
    assert healthcheck.problem({"SAMEWAY_PORT": port}) == (
        f"SAMEWAY_PORT: expected the port that the server listens on, found {port!r}"
    )


def test_what_is_wrong_is_one_line_of_the_command() -> None:
    assert check(SAMEWAY_PORT="80 ") == (1, "SAMEWAY_PORT: expected the port that the server listens on, found '80 '\n")


def test_an_address_that_is_none_is_named() -> None:
    assert (
        healthcheck.problem({"SAMEWAY_HOST": ""})
        == "SAMEWAY_HOST: expected the address that the server listens on, found ''"
    )


#: Of which Python's `int`, pydantic or a reader would take one for a port or another.
PORTS = ["", " 9000", "9000 ", "9000.0", "9e3", "9_000", "+9000", "09000", "\uff19\uff10", "65536"]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SAMEWAY_PORT": "9000"},
        {"sameway_port": "9000"},
        {"Sameway_Port": "9000", "SAMEWAY_PORT": "9001"},
        {"SAMEWAY_PORT": "9001", "Sameway_Port": "9000"},
        {"SAMEWAY_HOST": "0.0.0.0", "sameway_host": "::1"},
        {"SAMEWAY_HOST": ""},
        {"SAMEWAY_HOST": "", "SAMEWAY_PORT": "9000"},
        {"SAMEWAY_HOST": " 127.0.0.1"},
        *({"SAMEWAY_PORT": port} for port in PORTS),
        {"SAMEWAY_TLS_CERTIFICATE": "", "SAMEWAY_TLS_KEY": ""},
        {"sameway_tls_certificate": "certificate.pem", "SAMEWAY_TLS_KEY": "key.pem"},
    ],
)  # fmt: skip
def test_the_server_and_the_check_read_the_same(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them understands the other does, in the same way, and what one refuses so does the other."""
    for name in [name for name in os.environ if name.lower().startswith("sameway_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found: healthcheck.Place | None
    try:
        settings = Settings()
        serves = healthcheck.Place(settings.host, settings.port, tls=settings.tls_certificate is not None)
    except ValidationError:
        serves = None
    try:
        found = healthcheck.place(os.environ)
    except ValueError:
        found = None
    assert found == serves


def test_it_starts_fast_since_it_is_run_all_the_time() -> None:
    """It imports nothing but the standard library, and what keeps ONNX Runtime quiet."""
    program = "import sys, serving.healthcheck; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    own = {"serving", "models", "__main__"} | set(sys.stdlib_module_names)
    # What site-packages' .pth files bring along is none of its doing.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) - own - set(bare.stdout.split()) == set()


def test_six_is_asked_by_its_own_loopback() -> None:
    found = healthcheck.problem({"SAMEWAY_HOST": "::", "SAMEWAY_PORT": "1"})
    assert found is not None
    assert found.startswith("no answer on ::1:1: ")
