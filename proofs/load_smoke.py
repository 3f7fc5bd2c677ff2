"""A little load on each front end, `make load-smoke`: every answer of some seconds is right, and the server says so too.

    python -m proofs.load_smoke [--seconds 5]

The real `sameway loadtest` against the real `sameway serve`, as a release does it before it is published: no figures are
judged here, for the machines that run it are anybody's.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from proofs import telling, totals
from proofs.overload import FRONTENDS
from proofs.server import ROOT, Server
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table

_USERS = 4


def prove(frontend: str, *, seconds: int) -> list[Verdict]:
    """Put load on one front end for so many seconds, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        telling.publish(root)
        server = Server.start(root, "--drain-delay-seconds", "0", frontend=frontend)
        try:
            server.ready()
            words = ["--model", telling.MODEL, "--users", str(_USERS), "--duration", str(seconds), "--repository", str(root)]
            done = subprocess.run(
                [sys.executable, "cli.py", "loadtest", server.url, *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            ends = totals.ended(totals.at_rest(server), telling.MODEL)
            ended = server.stop()
        finally:
            if server.process.poll() is None:
                server.kill()
    wrong = [
        f"{count} × {outcome}: {reason}" for (outcome, reason), count in ends.items() if outcome in ("refused", "failed")
    ]
    return [
        at_most("exit code of sameway loadtest", done.returncode, 0),
        none_of("what it complains of", [line for line in done.stdout.splitlines() if line.startswith("FAILED")]),
        at_least("requests answered, by the server", ends["ok", ""], 1),
        none_of("requests that did not end well, by the server", wrong),
        at_most("exit code of the server", ended, 0),
        none_of("errors in the server's log", server.errors()),
    ]


def main() -> int:
    """Print what was found; return 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="seconds of load on each front end (5)")
    arguments = parser.parse_args()
    worst = 0
    for frontend in FRONTENDS:
        verdicts = prove(frontend, seconds=arguments.seconds)
        print(f"load-smoke, {frontend}", table(verdicts), sep="\n")
        worst = max(worst, exit_code(verdicts))
    return worst


if __name__ == "__main__":
    sys.exit(main())
