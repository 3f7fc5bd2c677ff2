"""Every command that the README and the docs show is run: here, in order, as a reader would type it, or by `.ci/run`.

Each page twice: shortly, with what most pages begin with made once for all of them, torch imported once for what comes after
it, and loads of two seconds; and, among the long tests, to the letter.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import string
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

import demo
from models import spec
from tests import warm

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_COMPOSE = "docker compose -f deploy/compose.yaml"
#: Commands that are run elsewhere, and the file that runs them with the words to be found there.
RUN_ELSEWHERE = {
    "make demo": (".ci/run", "make demo"),
    "make test": (".ci/run", "make test"),
    "sameway serve --access-log json": ("tests/serving/test_access_log.py", '"--access-log", "json"'),
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 sameway serve --telemetry": (
        "tests/serving/test_telemetry.py",
        '"--telemetry"',
    ),
    "docker build --target serve --build-arg MODELS=models -t sameway:serve .": (
        "tests/deploy/conftest.py",
        'build("serve", "sameway:serve-test", MODELS="models"',
    ),
    "docker run --read-only -p 8000:8000 sameway:serve": ("proofs/containers.py", '"--read-only"'),
    "sameway serve --engine ray --ray-replicas 1:4": ("tests/serving/engine/clusters.py", '"--engine", "ray"'),
    # Of deploy/, where an engine and images of others would be needed: held against the files that they name.
    **dict.fromkeys(
        [
            "export GRAFANA_PASSWORD=…",
            "docker compose -f deploy/compose.yaml up --build",
            "make images",
            *(
                f"SAMEWAY_IMAGE=sameway:serve-0.1.0 {_COMPOSE} up -d --no-deps --no-build {name}"
                for name in ("fastapi", "flask")
            ),
            f"{_COMPOSE} ps fastapi",
            f"{_COMPOSE} exec nginx nginx -c /tmp/nginx.conf -s reload",
        ],
        ("tests/deploy/test_commands.py", 'PAGE = ROOT / "docs" / "operations.md"'),
    ),
}


#: Pages that change the tree itself: a reader's checkout, here a copy of it.
IN_A_TREE = {"adding-a-model.md"}

#: What many pages begin with. In an empty folder it makes the same every time.
BEGINNING = ("sameway train digits --epochs 1", "sameway export digits")

#: Loads, which take as long as they are told to.
LOAD = re.compile(r"(?<=^sameway loadtest )(.*--duration) \d+")

#: Subcommands that import torch first of all.
WITH_TORCH = ("sameway train ", "sameway tune ", "sameway evaluate ", "sameway export ")

#: A block of commands, or a file that the page has its reader write: its name stands on the line before.
BLOCK = re.compile(r"^(?:`(?P<file>[\w/]+\.py)`:\n\n)?```(?P<kind>sh|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the commands of a page's `sh` blocks, without their comments, and `write FILE` for each file it shows."""
    found = []
    for block in BLOCK.finditer(page.read_text()):
        if block["kind"] == "sh":
            lines = [re.sub(r"\s+#.*", "", line).strip() for line in block["text"].splitlines()]
            found += [line for line in lines if line]
        elif block["file"]:
            found.append(f"write {block['file']}")
    return found


def shown(page: Path, file: str) -> str:
    """Return the text of a file that the page shows."""
    return next(block["text"] for block in BLOCK.finditer(page.read_text()) if block["file"] == file)


def tree(folder: Path) -> dict[str, str]:
    """Copy the project's sources, and return the variables with which `sameway` and pytest run those."""
    ignored = shutil.ignore_patterns("__pycache__", "[0-9]*", ".*")
    for name in ("models", "training", "export", "serving", "loadtests", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, dirs_exist_ok=True)
    for name in ("cli.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(
    command: str,
    *,
    port: int,
    management: int,
    folder: Path,
    variables: dict[str, str],
    environment: dict[str, str] | None = None,
    imported: bool = False,
) -> "subprocess.Popen[bytes] | None":
    """Run one command with our own `sameway` and ports; return the process of a server, which goes on.

    `NAME=$(command)` keeps what the command prints, for the commands after it. `imported`: if it needs torch, it may be run
    by a process that has imported it.
    """
    assigned = re.fullmatch(r"(\w+)=\$\((.*)\)", command)
    given = string.Template(assigned[2] if assigned else command).safe_substitute(variables)
    words = shlex.split(given.replace("8000", str(port)).replace("9000", str(management)))
    # Several devices are processes that begin with the command line of the first.
    if imported and command.startswith(WITH_TORCH) and "--devices" not in words:
        done = warm.run(words[1:], folder=folder, environment=environment, timeout=120)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return None
    if words[0] in ("sameway", "pytest", "python"):
        words[0] = str(Path(sys.executable).with_name(words[0]))
    if "serve" in words[:2]:
        server = subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL, env=environment)
        wait_until_ready(port, server, tls="--tls-certificate" in words)
        return server
    if words[0] == "curl":
        words[1:1] = ["--silent", "--show-error", "--fail"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    if assigned:
        variables[assigned[1]] = done.stdout.strip()
    return None


def wait_until_ready(port: int, server: "subprocess.Popen[bytes]", *, tls: bool) -> None:
    scheme, context = ("https", ssl._create_unverified_context()) if tls else ("http", None)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/v2/health/ready", timeout=2, context=context):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("the server did not become ready")


@pytest.fixture(scope="session")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function: the folder that the first so many commands of BEGINNING leave, run once."""

    @cache
    def made(count: int) -> Path:
        folder = tmp_path_factory.mktemp("beginning")
        if count:
            shutil.copytree(made(count - 1), folder, dirs_exist_ok=True)
            run(BEGINNING[count - 1], port=0, management=0, folder=folder, variables={})
        else:
            (folder / "models").mkdir()
        return folder

    return made


@pytest.mark.parametrize("to_the_letter", [False, pytest.param(True, marks=pytest.mark.long)], ids=["short", "full"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_runs(
    page: Path, to_the_letter: bool, beginning: Callable[[int], Path], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    environment = tree(tmp_path) if page.name in IN_A_TREE else None
    image, label = demo.held_out()  # what `make demo` leaves behind
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / f"digit-{label}.png").write_bytes(spec.find("digits").content.input.write({"image": image[None]}))
    with socket.create_server(("127.0.0.1", 0)) as probe, socket.create_server(("127.0.0.1", 0)) as another:
        port, management = probe.getsockname()[1], another.getsockname()[1]
    servers = []
    variables: dict[str, str] = {}
    made: tuple[str, ...] = ()  # the commands so far that trained or exported
    try:
        for command in commands(page):
            if command in RUN_ELSEWHERE:
                file, words = RUN_ELSEWHERE[command]
                assert words in (ROOT / file).read_text(), f"{command}: {file} does not run it any more"
                continue
            if command.startswith("write "):
                file = command.removeprefix("write ")
                (tmp_path / file).write_text(shown(page, file))
                continue
            if command.startswith(("sameway train ", "sameway tune ", "sameway export ", "sameway import ")):
                made += (command,)
                if not to_the_letter and made == BEGINNING[: len(made)]:
                    shutil.copytree(beginning(len(made)), tmp_path, dirs_exist_ok=True)
                    continue
            server = run(
                command if to_the_letter else LOAD.sub(r"\1 2", command),
                port=port, management=management, folder=tmp_path, variables=variables, environment=environment,
                imported=not to_the_letter,
            )  # fmt: skip
            if server is not None:
                servers.append(server)
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
    for server in servers:
        assert server.wait(timeout=30) == 0


def test_loads_are_shortened_and_nothing_else_is() -> None:
    shown = [command for page in PAGES for command in commands(page)]
    shortened = [command for command in shown if LOAD.sub(r"\1 2", command) != command]
    assert len(shortened) >= 6
    assert all(
        LOAD.sub(r"\1 2", command).split("--duration 2") == re.split(r"--duration \d+", command) for command in shortened
    )


def test_the_workflow_that_the_docs_offer_runs(beginning: Callable[[int], Path], tmp_path: Path) -> None:
    workflow = yaml.safe_load((ROOT / "docs" / "github-actions-parity.yaml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["export"]["steps"] if "run" in step]
    assert steps[0].startswith("python -m pip install -c constraints.txt ")  # what made this environment
    assert steps[1] == BEGINNING[0]
    shutil.copytree(beginning(1), tmp_path, dirs_exist_ok=True)
    for command in steps[2:]:
        run(command, port=0, management=0, folder=tmp_path, variables={}, imported=True)
    (kept,) = [step["with"]["path"] for step in workflow["jobs"]["export"]["steps"] if "upload" in step.get("uses", "")]
    assert sorted(path.name for path in (tmp_path / kept).iterdir()) == ["junit.xml", "report.html", "report.json"]


def test_every_file_the_pages_link_to_is_there() -> None:
    for page in [*PAGES, ROOT / "models" / "digits" / "README.md"]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
