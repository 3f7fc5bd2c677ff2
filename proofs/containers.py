"""Containers of this project's images on a Docker engine: built, started, asked, stopped, killed, looked at.

The counterpart of server.py for what runs in a container. The engine is whichever `docker` reaches; DOCKER names another
program. Containers have the host's network, for an engine need not have a bridge, and a published port would be answered by
the engine where the server does not listen any more. They run as one would deploy them: on a read-only file system, without
capabilities.
"""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
DOCKER = os.environ.get("DOCKER", "docker")

#: Downloading what an image is made of, and a server's start on a busy machine.
_BUILD_SECONDS, _READY_SECONDS = 1800.0, 60.0
_LOOK_SECONDS = 0.02

#: What nobody who serves needs.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")


class ContainerError(Exception):
    """The engine or a container did not do what was needed; the message ends with what it said."""


def docker(*words: str, seconds: float = 120.0) -> str:
    """Run a docker command and return what it printed, without the line's end; raise ContainerError where it fails."""
    # 20.10 builds with BuildKit only where it is told to; later engines always do.
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        done = subprocess.run(
            [DOCKER, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContainerError(f"docker {' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise ContainerError(f"docker {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def build(target: str, tag: str, **arguments: str) -> str:
    """Build one of the Dockerfile's images with these build arguments; return its tag."""
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    docker("build", "--network", "host", "--target", target, *given, "--tag", tag, ".", seconds=_BUILD_SECONDS)
    return tag


def _at_hand(image: str) -> str:
    """Return an image's name once the engine has it by that name, which it need not of what others are built from."""
    try:
        docker("image", "inspect", image)
    except ContainerError:
        docker("pull", image, seconds=_BUILD_SECONDS)
    return image


def layer_bytes(image: str) -> list[int]:
    """Return the sizes of an image's layers, the newest first, with those that hold nothing."""
    _at_hand(image)
    return [int(line) for line in docker("history", "--human=false", "--format", "{{.Size}}", image).splitlines()]


def added_bytes(image: str, base: str) -> int:
    """Return by how many bytes an image's layers are more than those of the image it was built from."""
    return sum(layer_bytes(image)[: -len(layer_bytes(base))])


def layers(image: str) -> list[str]:
    """Return the digests of an image's layers, the base's first: what hosts and registries hold once."""
    found: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", _at_hand(image)))
    return found


class Container:
    """A container that serves, started. It is gone when `running` ends, or with `remove`."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.host, self.port = name, "127.0.0.1", port

    @classmethod
    def create(
        cls,
        image: str,
        *flags: str,
        words: Sequence[str] = (),
        models: Path | None = None,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> Self:
        """Make a container that listens on a free port, or on this one; `flags` are docker's, `words` the command's.

        `models` is mounted in place of what the image has at /models, to be read only.
        """
        if not port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
        given = {"SAMEWAY_HOST": "127.0.0.1", "SAMEWAY_PORT": str(port), **(environment or {})}
        mounted = () if models is None else ("--volume", f"{models}:/models:ro")
        variables = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        created = docker("create", "--network", "host", *HARDENED, *variables, *mounted, *flags, image, *words)
        return cls(created, port)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, as clients name them."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start it, or start it again after its end."""
        docker("start", self.name)

    def ready(self, *, seconds: float = _READY_SECONDS) -> Self:
        """Wait until its server is ready, and return it; raise ContainerError where it is not in time."""
        self.until(self.is_ready, "ready", seconds=seconds)
        return self

    def is_ready(self) -> bool:
        """Tell whether its server says that it is ready."""
        try:
            return self.ask("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float = _READY_SECONDS) -> None:
        """Look again and again until a condition holds; raise ContainerError with the log where it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise ContainerError(f"the container is not {what}; {self.state()}\n{self.log()[-3000:]}")
            time.sleep(_LOOK_SECONDS)

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer; POST where there is a body. Raise OSError where there is none."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def run(self, *words: str) -> str:
        """Run a command inside, and return what it printed."""
        return docker("exec", self.name, *words)

    def state(self) -> dict[str, Any]:  # Any: JSON
        """Return what the engine says of it: Status, ExitCode, OOMKilled, Health."""
        found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", self.name))
        return found

    def log(self) -> str:
        """Return all that it has written, to standard output and to standard error."""
        done = subprocess.run([DOCKER, "logs", self.name], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def peak_bytes(self) -> int:
        """Return the most memory that its first process has held."""
        status = self.run("cat", "/proc/1/status")
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])

    def waited_seconds(self) -> float:
        """Return for how long its first process could have run and had no processor; 0 where the kernel does not count."""
        found = self.run("sh", "-c", "cat /proc/1/schedstat 2>/dev/null || true").split()
        return int(found[1]) / 1e9 if found else 0.0

    def kill(self, signal: str = "KILL") -> None:
        """Send its first process a signal, and do not wait for what comes of it."""
        docker("kill", "--signal", signal, self.name)

    def wait(self, *, seconds: float = 60.0) -> int:
        """Wait for its end, and return its exit code; raise ContainerError where it does not end in time."""
        return int(docker("wait", self.name, seconds=seconds))

    def stop(self) -> int:
        """End it as an orchestrator does, and return its exit code; 137 where it had to be killed after 20 s."""
        docker("stop", "--time", "20", self.name)
        return self.wait()

    def remove(self) -> None:
        """Remove it and its volumes, whatever its state."""
        docker("rm", "--force", "--volumes", self.name)


@contextlib.contextmanager
def running(
    image: str,
    *flags: str,
    words: Sequence[str] = (),
    models: Path | None = None,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Container]:
    """Run a container until the block ends; it need not be ready when that begins. Arguments as of `Container.create`."""
    container = Container.create(image, *flags, words=words, models=models, environment=environment, port=port)
    try:
        container.start()
        yield container
    finally:
        container.remove()


def ended(
    image: str,
    *flags: str,
    words: Sequence[str] = (),
    models: Path | None = None,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    seconds: float = 60.0,
) -> tuple[int, str]:
    """Run a container that ends by itself; return its exit code and all that it has written.

    Raise ContainerError where it does not end in so many seconds. Other arguments as of `Container.create`.
    """
    with running(image, *flags, words=words, models=models, environment=environment, port=port) as container:
        return container.wait(seconds=seconds), container.log()
