"""Where reports go: JSON, HTML and JUnit in a folder; and old ones, read to be compared with."""

import contextlib
import json
from pathlib import Path

from loadtests import compare, junit
from loadtests.report import SCHEMA, Json
from loadtests.server import CannotRun
from loadtests.tune import PROPOSED

JSON, HTML, JUNIT, CONFIG = "report.json", "report.html", "junit.xml", "config.toml"

#: What an earlier report in the same folder is called from now on: it must not be taken for this load's.
_EARLIER = "earlier-"


def prepare(folder: str | None) -> None:
    """Make sure, before a load, that its report can be written, and put an earlier one aside; raise CannotRun."""
    if folder is None:
        return
    _write(Path(folder), {JUNIT: junit.could_not_run("the load has not come to its end")})
    for name in (JSON, HTML, *([CONFIG] if _is_proposal(Path(folder) / CONFIG) else [])):
        try:
            (Path(folder) / name).replace(Path(folder) / f"{_EARLIER}{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotRun(f"report: cannot replace {folder}/{name}: {error.strerror or error}") from error


def write(report: Json, folder: str | None) -> list[Path]:
    """Write the report in every form; return the files. Raise CannotRun where that is impossible."""
    if folder is None:
        return []
    from loadtests import report_html  # jinja2, where it is wanted only

    written = _write(
        Path(folder),
        {
            JSON: json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n",
            HTML: report_html.to_bytes(report),
            JUNIT: junit.to_bytes(report),
        },
    )
    for name in (JSON, HTML, CONFIG):
        with contextlib.suppress(OSError):
            (Path(folder) / f"{_EARLIER}{name}").unlink()
    return written


def _is_proposal(path: Path) -> bool:
    """Tell whether a config.toml is one that a load test proposed: somebody's own stays where it is."""
    try:
        with path.open("rb") as file:
            return file.read(len(PROPOSED)) == PROPOSED.encode()
    except OSError:
        return False


def could_not_run(message: str, folder: str | None) -> None:
    """Write what CI reads where nothing could be measured; an unwritable folder is not told of twice."""
    if folder is None:
        return
    try:
        _write(Path(folder), {JUNIT: junit.could_not_run(message)})
    except CannotRun:
        return


def read(path: Path) -> Json:
    """Return an earlier report; raise CannotRun for anything else."""
    path = path / JSON if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise CannotRun(f"compare: {path}: expected a report of schema {SCHEMA}, found {found['schema']!r}")
        if not isinstance(found["runs"], list) or not isinstance(found["environment"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CannotRun(f"compare: expected a report.json of `sameway loadtest`, found {path} ({error!r:.100})") from error
    return dict(found)


def add_comparison(report: Json, old: Json | None) -> None:
    """Add what changed since an earlier report, if there is one."""
    if old is None or (report["interrupted"] is not None and not report["runs"]):
        return
    try:
        report["comparison"] = compare.compare(old, report)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        told = f"not compared: the earlier report has not what one of `sameway loadtest` has ({error!r:.100})"
        report["comparison"] = [{"told": told}]


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            half = folder / f".{name}.half"
            half.write_bytes(data)
            half.replace(folder / name)  # whole or not at all
    except OSError as error:
        raise CannotRun(f"report: expected a folder that can be written, found {folder}: {error.strerror}") from error
    return [folder / name for name in files]
