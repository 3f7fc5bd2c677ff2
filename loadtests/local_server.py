"""`sameway serve` on this machine's loopback, with one model as it is published and a config.toml of one's choice.

The repository itself stays as it is: the model's newest version is linked into a folder of its own, or copied where links
are not possible. The server is tied to whoever started it (tied.py).
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from loadtests.interrupts import current
from loadtests.server import CannotRun, Server
from models.repository import CONFIG, Repository, RepositoryError

#: Importing, opening and replaying on a busy machine; nobody waits for so long where all is well.
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.05


@contextlib.contextmanager
def serving(repository: Path, model: str, config: str) -> Iterator[Server]:
    """Serve a model with the text of a config.toml until the block ends; raise CannotRun with the log where it is not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAMEWAY_")}
    with tempfile.TemporaryDirectory(prefix="sameway-tune-") as folder, tempfile.TemporaryFile() as log:
        root = Path(folder) / "repository"
        _copy(repository, model, root)
        (root / model / CONFIG).write_text(config, encoding="utf-8")
        words = ["serve", "--repository", str(root), "--port", "0", "--drain-delay-seconds", "0"]
        process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-m", "loadtests.tied", "cli", *words], stdin=subprocess.PIPE, stdout=log, stderr=log,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            with current().listening():
                server = _ready(process, model, log.fileno())
            yield server
        finally:
            _stop(process)


def own_config(repository: Path, model: str) -> str:
    """Return the config.toml that a model has; an empty text where it has none."""
    with contextlib.suppress(FileNotFoundError):
        return (repository / model / CONFIG).read_text(encoding="utf-8")
    return ""


def _copy(repository: Path, model: str, root: Path) -> None:
    try:
        versions = Repository(repository).versions(model)
    except RepositoryError as error:
        raise CannotRun(str(error)) from error
    if not versions:
        raise CannotRun(f"{model}: expected a published version under {repository}, found none")
    source, target = repository / model, root / model
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and file.suffix in (".json", ".pbtxt"):  # profiles, Triton's configuration
            shutil.copy(file, target / file.name)
    shutil.copytree(source / str(versions[-1]), target / str(versions[-1]), copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def _ready(process: "subprocess.Popen[bytes]", model: str, log: int) -> Server:
    """Wait until the model is ready; raise CannotRun with the end of the log where it does not become so."""
    deadline = time.monotonic() + _START_SECONDS
    server: Server | None = None
    while time.monotonic() < deadline and process.poll() is None:
        said = os.pread(log, 1 << 20, 0).decode(errors="replace")
        if server is None and (found := re.search(r"event=listening url=(http://127\.0\.0\.1:\d+)", said)):
            server = Server(found[1])
        if server is not None:
            with contextlib.suppress(OSError):
                if server.ask(f"/v2/models/{model}/ready").status == 200:
                    return server
        if re.search(r"event=(\w*failed|load_failed)", said):
            break
        time.sleep(_LOOK_SECONDS)
    lines = os.pread(log, 1 << 20, 0).decode(errors="replace").splitlines()[-8:]
    raise CannotRun("\n".join([f"tune: the server did not become ready with {model}", *lines]))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr] # a pipe
