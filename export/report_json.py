"""`report.json`: everything an export found, for programs. What a manifest records is here under the same names."""

import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict

from export.attempt import FormatResult
from export.publish import Publication

#: Raised with every change that an older reader would misread.
SCHEMA = 1

#: What an answer may depend on besides the model.
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")


def to_bytes(publication: Publication, *, dry_run: bool = False) -> bytes:
    """Return the report as UTF-8; numbers that JSON has no words for are "NaN", "Infinity" and "-Infinity" in quotes."""
    version = publication.version
    facts = {
        "schema": SCHEMA,
        "model": publication.model,
        "passed": publication.passed,
        "dry_run": dry_run,
        "published": None if version is None else {"version": version.manifest.version, "digest": version.digest},
        "notes": publication.notes,
        "faults": publication.faults,
        "formats": [_format(result) for result in publication.results],
        "environment": {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "libraries": _versions(),
        },
    }
    return (json.dumps(_sayable(facts), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="replace")


def _format(result: FormatResult) -> dict[str, object]:
    facts: dict[str, object] = {
        "format": result.format,
        "passed": result.passed,
        "exported": result.exported,
        "error": result.error,
        "faults": result.faults,
    }
    if result.artifact is not None:
        facts["artifact"] = asdict(result.artifact)
        facts["histograms"] = {name: asdict(one.histogram) for name, one in result.evidence.items()}
    return facts


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _sayable(value: object) -> object:
    """Return the value with texts in place of numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    return value
