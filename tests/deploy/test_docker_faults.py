"""What goes wrong with containers, tried with real ones: what the log says, the exit code, and who notices.

Folders that a container's user may not read are made by chmod; who runs these tests is somebody else than user 10001.
"""

import asyncio
import re
import shutil
import socket
from pathlib import Path

import pytest

from proofs import drain, telling
from proofs.containers import ContainerError, ended, running
from proofs.images import killed_beside_another, out_of_memory, stopped
from proofs.verdict import table

pytestmark = pytest.mark.docker


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A repository that user 10001 can read: pytest's own folder is its owner's alone."""
    folder = tmp_path / "models"
    telling.publish(folder)
    (folder / telling.MODEL / "config.toml").write_text(drain.CONFIG)
    return folder


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SAMEWAY_PORT", "abc", "expected a port number in digits alone, found 'abc'"),
        ("SAMEWAY_PORT", "70000", "port: Input should be less than or equal to 65535"),
        ("SAMEWAY_WORKERS", "0", "workers: Input should be greater than or equal to 1"),
        ("SAMEWAY_FRONTEND", "django", "frontend: Input should be 'fastapi' or 'flask', found 'django'"),
        ("SAMEWAY_KEYS", "/run/secrets/keys", "/run/secrets/keys: No such file or directory"),
        ("SAMEWAY_MODELS", "digitz", "models: expected some of digits, found 'digitz'"),
        ("SAMEWAY_REPOSITORY", "/absent", "model repository /absent: No such file or directory"),
    ],
)
def test_a_bad_environment_value_is_exit_code_2_and_one_line(serve_image: str, name: str, value: str, said: str) -> None:
    code, log = ended(serve_image, environment={name: value})
    assert (code, log.count("\n")) == (2, 1), log
    assert said in log


def test_a_port_in_use_is_exit_code_1(serve_image: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, log = ended(serve_image, port=port)
    assert (code, log.count("\n")) == (1, 1), log
    assert log.startswith(f"sameway serve: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_volume_without_models_is_not_ready_and_says_so(serve_image: str, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    with running(serve_image, models=folder) as container:
        container.until(lambda: "event=listening" in container.log() and "event=no_models" in container.log(), "warning")
        assert "level=WARNING" in re.findall(r".*event=no_models repository='/models'.*", container.log())[0]
        assert container.ask("/v2/health/ready")[0] == 503
        assert container.ask("/v2/health/live")[0] == 200
        with pytest.raises(ContainerError, match="exit code 1"):
            container.run("python3", "-m", "serving.healthcheck")
        assert container.stop() == 0


def test_models_that_are_mounted_take_the_place_of_those_baked_in(serve_image: str, published: Path) -> None:
    with running(serve_image, models=published) as container:
        container.ready()
        assert container.ask(f"/v2/models/{telling.MODEL}/ready")[0] == 200
        assert container.ask("/v2/models/digits")[0] == 404


def test_a_repository_that_may_not_be_read_is_exit_code_2(serve_image: str, published: Path) -> None:
    published.chmod(0o700)
    assert ended(serve_image, models=published) == (2, "sameway serve: model repository /models: Permission denied\n")


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        ("", "telling: Permission denied"),
        ("1", "telling/1: Permission denied"),
        ("1/model.onnx", "telling/1: model.onnx: Permission denied"),
        ("1/manifest.json", "telling/1: manifest.json: Permission denied"),
    ],
)
def test_a_model_that_may_not_be_read_says_so_and_the_others_are_served(
    serve_image: str, published: Path, closed: str, said: str
) -> None:
    other = published / "other" / "1"
    other.mkdir(parents=True)
    shutil.copy(published / telling.MODEL / "1" / "model.onnx", other)
    (published / telling.MODEL / closed).chmod(0)
    with running(serve_image, models=published) as container:
        container.ready()
        assert f"event=load_failed model=telling {'version=1 ' if closed else ''}reason='{said}'" in container.log()
        assert "Traceback" not in container.log()
        assert container.ask("/v2/models/other/ready")[0] == 200
        assert container.ask("/v2/models/telling/ready")[0] == 503
        assert container.stop() == 0


def test_any_user_may_serve(serve_image: str) -> None:
    """Some orchestrators choose a user of their own."""
    with running(serve_image, "--user", "12345:0") as container:
        container.ready()
        assert container.run("id", "-u") == "12345"
        assert container.ask("/v2/models/digits/ready")[0] == 200
        assert container.stop() == 0


def test_several_processes_need_no_more(serve_image: str) -> None:
    """Their counters are in shared memory, which a read-only file system has as well."""
    with running(serve_image, environment={"SAMEWAY_WORKERS": "2"}) as container:
        container.ready()
        assert container.stop() == 0
        assert "level=ERROR" not in container.log()


def test_sigterm_under_load_fails_nobody_who_was_accepted(serve_image: str, published: Path) -> None:
    # On a machine that others use too a process can be without a processor between the last accept and the listener's
    # close, and the kernel resets whom it has connected meanwhile: then it is tried again. Who does not drain fails always.
    for seed in range(3):
        found = asyncio.run(stopped(serve_image, published, "TERM", rate=100.0, seed=seed))
        verdicts = drain.judged([found])
        assert found.code == 0
        assert not found.errors
        if all(one.passed for one in verdicts):
            return
    pytest.fail("\n" + table(verdicts))


def test_a_container_that_is_killed_instead_is_found_out(serve_image: str, published: Path) -> None:
    found = asyncio.run(stopped(serve_image, published, "KILL", rate=100.0))
    assert found.code == 137
    assert not all(one.passed for one in drain.judged([found]))


def test_sigkill_under_load_is_noticed_by_its_own_clients_only(serve_image: str, published: Path) -> None:
    verdicts = asyncio.run(killed_beside_another(serve_image, published, rate=100.0))
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)


def test_out_of_memory_is_exit_code_137_and_a_restart_policy_brings_it_back(serve_image: str) -> None:
    verdicts = out_of_memory(serve_image)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
