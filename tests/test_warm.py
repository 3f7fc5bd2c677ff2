"""A command that is forked is like one that is started: so it is for tests to say what only the one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

SAMEWAY = str(Path(sys.executable).with_name("sameway"))


@pytest.mark.parametrize(
    "words", [["verify", "nowhere"], ["new", "Flowers", "--task", "regression"], ["nothing"], ["--help"]]
)
def test_it_says_and_returns_what_a_shell_would_see(words: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "60"}
    started = subprocess.run([SAMEWAY, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    forked = warm.run(words, folder=tmp_path, environment=environment, timeout=60)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert started.stdout + started.stderr


def test_the_code_is_that_of_its_variables(tmp_path: Path) -> None:
    program = (
        "import os, sys\ndef main(words): print(words, os.getcwd(), 'training' in sys.modules, 'torch' in sys.modules)\n"
    )
    (tmp_path / "cli.py").write_text(program)
    done = warm.run(["a", "b"], folder=tmp_path, environment={"PYTHONPATH": str(tmp_path)}, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"['a', 'b'] {tmp_path} False True\n", "")


def test_one_that_takes_longer_is_ended(tmp_path: Path) -> None:
    program = "import os, time\ndef main(words):\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
    (tmp_path / "cli.py").write_text(program)
    with pytest.raises(subprocess.TimeoutExpired) as error:
        warm.run([], folder=tmp_path, environment={"PYTHONPATH": str(tmp_path)}, timeout=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(error.value.stdout or "0"), 0)
