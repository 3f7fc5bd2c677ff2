"""`report.json` of an evaluation: everything that was found, for programs."""

import importlib.metadata
import json
import platform
from dataclasses import asdict

from models.tasks import Classification
from training.findings import Evaluation, Findings

#: Raised with every change that an older reader would misread.
SCHEMA = 1

#: What a score may depend on besides the model.
_LIBRARIES = ("numpy", "onnxruntime", "torch")


def to_bytes(found: Evaluation) -> bytes:
    """Return the report as UTF-8. All its numbers are finite: answers that are not have been refused."""
    facts = {
        "schema": SCHEMA,
        "model": found.model,
        "task": type(found.task).__name__.lower(),
        "output": found.task.output,
        "split": "test",
        "samples": len(found.targets),
        "data": found.data,
        "labels": list(found.labels) if isinstance(found.task, Classification) else None,
        "notes": found.notes,
        "subjects": [_subject(found, one) for one in found.findings],
        "comparison": None if found.comparison is None else asdict(found.comparison),
        "environment": {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }
    return (json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="replace")


def _subject(found: Evaluation, one: Findings) -> dict[str, object]:
    subject = one.subject
    facts: dict[str, object] = {
        "subject": subject.name,
        "format": subject.format,
        "digest": subject.digest,
        "origin": asdict(subject.origin),
        "scores": {name: asdict(score) for name, score in one.scores.items()},
        "mistakes": [
            {
                "kind": kind.kind,
                "count": kind.count,
                # A picture is in the page; here its place in the split says which it is.
                "worst": [{**asdict(each), "input": one.shown[each.sample].text or None} for each in kind.worst],
            }
            for kind in one.mistakes
        ],
    }
    if one.confusion is not None:
        named = zip(found.labels, one.confusion.classes, strict=True)
        facts["classes"] = [{"label": label, **asdict(scores)} for label, scores in named]
        facts["confusion"] = one.confusion.matrix.tolist()
    if one.calibration is not None:
        bins, by_chance = one.calibration.bins, one.calibration.by_chance
        facts["calibration"] = {"bins": [asdict(each) for each in bins], "ece_by_chance": by_chance}
    return facts
