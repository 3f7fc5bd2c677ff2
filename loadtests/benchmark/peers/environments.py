"""Make the peers' environments: `python -m loadtests.benchmark.peers.environments`, or `make bench-peers`.

Their dependencies clash with ours and with each other's, so each has a virtual environment of its own, with the versions
named in requirements/. One that is complete is left alone; one whose packages cannot be had is left out of the benchmark,
which then says why.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests.benchmark.side import ROOT

FOLDER = ROOT / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements")

#: The file in an environment that holds the requirements it was made from, once everything is installed; and the one
#: beside it that says why it could not be made.
COMPLETE, FAILED = "complete", ".failed"

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def make(requirements: Path, folder: Path) -> str | None:
    """Make the environment of one peer, if it is not there in these versions; return why it cannot be, or None."""
    wanted = requirements.read_text(encoding="utf-8")
    environment, failed = folder / requirements.stem, folder / f"{requirements.stem}{FAILED}"
    complete = environment / COMPLETE
    if complete.is_file() and complete.read_text(encoding="utf-8") == wanted:
        return None
    shutil.rmtree(environment, ignore_errors=True)
    python = environment / "bin" / "python"
    for words in (
        # Our pip installs into it, so that it needs none of its own.
        [sys.executable, "-m", "venv", "--without-pip", str(environment)],
        [*_PIP, "--python", str(python), "install", "--quiet", "-r", str(requirements)],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        if done.returncode != 0:
            reason = _reason(done.stderr)
            shutil.rmtree(environment, ignore_errors=True)
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(reason + "\n", encoding="utf-8")
            return reason
    complete.write_text(wanted, encoding="utf-8")
    failed.unlink(missing_ok=True)
    return None


def main(requirements: Sequence[Path] = ()) -> int:
    """Make them all, saying how it went; return 0 in any case, for a peer less is no failure."""
    for one in requirements or sorted(REQUIREMENTS.glob("*.txt")):
        reason = make(one, FOLDER)
        _say(f"{one.stem}: {'ready' if reason is None else f'left out: {reason}'}")
    return 0


def _reason(said: str) -> str:
    """Return the line of pip's in which it says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[0].removeprefix("ERROR: ")[:300]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
