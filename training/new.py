"""Start a model of your own: a folder under models/ that trains, exports and serves at once, to be changed step by step.

It is a copy of one of the starters in training/starters/, each a kind of task on a small real data set. Replace its data
first, then its network, then its card; docs/adding-a-model.md walks through that.
"""

import argparse
import keyword
import re
import sys
import tempfile
from pathlib import Path

import models
from training import starters

#: What a model can be for: the starters there are.
TASKS = ("classification", "regression", "novelty")

#: What a folder under models/ is called: a Python package, and a part of URLs.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `sameway new`."""
    parser.add_argument("name", metavar="NAME", help="the new model's name: small letters, digits and _")
    parser.add_argument(
        "--task", choices=TASKS, required=True, help="what it is for: a class, a number, or what is unlike the rest"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the folder and tell what to do next; return the exit code: 1 where it cannot be made, 2 for a wrong name."""
    name, root = arguments.name, Path(next(iter(models.__path__)))
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        return _fail(f"name: expected small letters, digits and _, beginning with a letter, found {name!r}", 2)
    folder = root / name
    if folder.exists() or (root / f"{name}.py").exists():
        return _fail(f"name: expected one that is not taken, found {name!r}: {folder} is there already", 2)
    try:
        _write(name, arguments.task, folder)
    except OSError as error:
        return _fail(f"{folder}: cannot be made: {error.strerror or error}", 1)
    sys.stdout.write(
        f"made {folder}\n\n"
        f"  sameway train {name}\n"
        f"  sameway export {name}\n"
        f"  sameway serve\n\n"
        f"Then replace its data (data.py), its network (model.py), and its card (README.md).\n"
    )
    return 0


def _write(name: str, task: str, folder: Path) -> None:
    """Copy a starter under a new name, whole or not at all."""
    starter = Path(next(iter(starters.__path__))) / task
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as place:
        made = Path(place) / name
        made.mkdir()
        for file in sorted(path for path in starter.iterdir() if path.is_file()):
            (made / file.name).write_text(_renamed(file.read_text(encoding="utf-8"), name, task), encoding="utf-8")
        made.rename(folder)


def _renamed(text: str, name: str, task: str) -> str:
    """Return a file of a starter as one of a model: its imports, and the places where it is called by its name."""
    text = text.replace(f"training.starters.{task}", f"models.{name}")
    places = (f'name="{task}"', f"`{task}`", f"sameway train {task}", f"# {task}: ", f'"""{task}: ')
    for place in places:
        text = text.replace(place, place.replace(task, name))
    return text


def _fail(reason: str, exit_code: int) -> int:
    sys.stderr.write(f"sameway new: {reason}\n")
    return exit_code
