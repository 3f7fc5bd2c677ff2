"""The one command, `sameway`: it finds the subcommand and imports only what that one runs.

Each stage keeps its own `command.py` with two functions, `add_arguments(parser)` and `run(arguments) -> exit code`.
So `sameway serve` starts without ever importing torch, and `sameway --help` without importing anything at all.
"""

import argparse
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Subcommand(NamedTuple):
    """Where a subcommand lives, what it does, and the extra that brings what it imports (None: the base install)."""

    module: str
    summary: str
    extra: str | None


SUBCOMMANDS = {
    "train": Subcommand("training.command", "train a model on its data and write a checkpoint", "train"),
    "tune": Subcommand("training.tune_command", "search for a better recipe, and write the best", "train"),
    "new": Subcommand("training.new", "start a model of your own: a folder that trains, exports and serves at once", None),
    "evaluate": Subcommand("training.evaluate_command", "score a checkpoint or version on its test split", "train"),
    "export": Subcommand("export.command", "turn a checkpoint into checked artifacts and publish them", "export"),
    "import": Subcommand("export.adopt", "publish somebody else's ONNX file, tried in every way there is", "export"),
    "verify": Subcommand("export.verify", "check a published version again: checksums, signature, golden sample", None),
    "profile": Subcommand("export.profile_command", "measure a published version on this machine", None),
    "diff": Subcommand("export.diff", "compare two published versions: signature, scores, decisions, sizes", None),
    "serve": Subcommand("serving.command", "serve the published versions over HTTP", None),
    "key": Subcommand("serving.new_key", "make an API key for a server", None),
    "loadtest": Subcommand("loadtests.command", "measure how much a running server carries", "loadtest"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; 2 for a wrong command line or a missing extra, 130 after Ctrl-C."""
    if os.getpid() == 1:
        # A container's first process: the kernel keeps from it every signal that it has no handler for, so SIGTERM would be
        # lost until the subcommand has one.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else None
    if name not in SUBCOMMANDS:
        _overview().parse_args(words or ["--help"])
        return 2
    subcommand = SUBCOMMANDS[name]
    try:
        command = importlib.import_module(subcommand.module)
    except KeyboardInterrupt:  # importing torch takes seconds, long enough for a change of mind
        return 130
    except ModuleNotFoundError as missing:
        if subcommand.extra is None or (missing.name or "").split(".")[0] in {"cli", "training", "export", "loadtests"}:
            raise
        remedy = f"install it with: pip install 'sameway[{subcommand.extra}]'"
        sys.stderr.write(f"sameway {name}: needs the package {missing.name!r}; {remedy}\n")
        return 2
    parser = argparse.ArgumentParser(prog=f"sameway {name}", description=command.__doc__, formatter_class=_Formatter)
    command.add_arguments(parser)
    arguments = parser.parse_args(words[1:])
    try:
        exit_code: int = command.run(arguments)
    except KeyboardInterrupt:  # where there is something to say of it, the subcommand has caught it
        return 130
    return exit_code


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Show defaults where there are any, and keep the line breaks of a module's docstring."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _overview() -> argparse.ArgumentParser:
    """Return the parser of the bare `sameway`: its help lists every subcommand."""
    lines = "\n".join(f"  {name:<10} {subcommand.summary}" for name, subcommand in SUBCOMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="sameway",
        description="The same answer, all the way from training to production.",
        epilog=f"subcommands:\n{lines}\n\n`sameway SUBCOMMAND --help` tells the rest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("sameway"))
    parser.add_argument("subcommand", choices=SUBCOMMANDS, metavar="SUBCOMMAND")
    return parser


if __name__ == "__main__":
    sys.exit(main())
