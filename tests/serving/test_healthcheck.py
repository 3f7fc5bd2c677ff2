"""The images' health check, against real servers and against none."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.repository import make_folder
from proofs import telling
from proofs.server import Server
from serving import healthcheck
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


def test_whoever_answers_no_http_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.listen()
        port = mute.getsockname()[1]
        code, said = check(SAMEWAY_PORT=str(port))
    assert (code, said) == (1, f"no answer on 127.0.0.1:{port}: timed out\n")


@pytest.mark.parametrize("port", ["", "abc", "0", "70000", "-1", "80 "])
def test_a_port_that_is_none_is_named(port: str) -> None:
    assert check(SAMEWAY_PORT=port) == (
        1, f"SAMEWAY_PORT: expected the port that the server listens on, found {port!r}\n"
    )  # fmt: skip


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
