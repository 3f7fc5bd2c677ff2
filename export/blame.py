"""Where an error of somebody else's code was raised: the file and line a person can go to, in one line and no traceback."""

import sysconfig
from pathlib import Path

from export.exporter import first_line

#: Folders of code that is nobody's model: this package and Python's library; installed packages are below one of the others.
_NOT_THEIRS = (Path(__file__).resolve().parent, Path(sysconfig.get_path("stdlib")).resolve())
_INSTALLED = {"site-packages", "dist-packages"}


def said(error: BaseException) -> str:
    """Return what an error says first and, where somebody's own code raised it or called what did, file and line."""
    place = where(error)
    return first_line(error) + (f" ({place})" if place is not None else "")


def where(error: BaseException) -> str | None:
    """Return `file:line` of the innermost frame that is somebody's own code, relative to the current folder if below it."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{_short(Path(error.filename))}:{error.lineno}"
    found, traceback = None, error.__traceback__
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        # Frames without a file, as importlib's own, are called <frozen …>.
        if file.is_absolute() and _is_theirs(file.resolve()):
            found = f"{_short(file)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _short(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _is_theirs(file: Path) -> bool:
    return not any(map(file.is_relative_to, _NOT_THEIRS)) and _INSTALLED.isdisjoint(file.parts)
