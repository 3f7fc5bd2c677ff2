"""Make an API key for a server, and the lines that let the server know it.

  KEY=$(sameway key shop --scopes predict --keys keys.toml)
  sameway serve --keys keys.toml

The key is shown this once; the file holds only its hash. With --keys the lines are added to that file, and the key alone
is printed. Without it the lines are printed, and the key goes to standard error.
"""

import argparse
import os
import sys
from pathlib import Path

from serving import keys
from serving.keys import KeysError, Scope


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("name", help="whose key it is: letters, digits, '_' and '-'")
    parser.add_argument("--scopes", required=True, help=f"what it may be used for, as a,b: {', '.join(Scope)}")
    parser.add_argument("--concurrent", type=int, default=None, help="requests it may have under way at once; none: any")
    parser.add_argument("--keys", type=Path, default=None, metavar="FILE", help="the server's file of keys, to add it to")


def run(arguments: argparse.Namespace) -> int:
    """Print a new key. Return 2 where its name, its scopes or the file cannot be used."""
    key = keys.generate()
    try:
        if arguments.concurrent is not None and arguments.concurrent < 1:
            raise KeysError(f"concurrent: expected 1 or more, found {arguments.concurrent}")
        scopes = keys.scopes_of(word.strip() for word in arguments.scopes.split(","))
        table = keys.table_of(arguments.name, key, sorted(scopes), arguments.concurrent)
        if arguments.keys is not None:
            _add(arguments.keys, arguments.name, table)
    except KeysError as error:
        sys.stderr.write(f"sameway key: {error}\n")
        return 2
    if arguments.keys is None:
        sys.stdout.write(table)
        sys.stderr.write(f"{key}\n")
    else:
        sys.stdout.write(f"{key}\n")
    return 0


def _add(path: Path, name: str, table: str) -> None:
    """Add a key's lines to a file, which is made for its owner alone; raise KeysError where that cannot be done."""
    try:
        there = path.exists() and path.stat().st_size > 0
        if there and any(known.name == name for known in keys.read(path).all):
            raise KeysError(f"{path}: keys.{name} is there already")
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(f"\n{table}" if there else table)
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror or error}") from error
