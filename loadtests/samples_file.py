"""Samples on disk: made once by the command, read by every process of the generator. No pickle, as everywhere here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtests import wire
from loadtests.bodies import Case, Sample
from models.content import Content
from models.tensors import Array, TensorSpec


def save(path: Path, samples: Mapping[str, list[Sample]]) -> None:
    """Write the samples of each model."""
    told: dict[str, Any] = {}  # Any: JSON
    arrays: dict[str, Array] = {}
    for model, rows in samples.items():
        told[model] = {"case": _told(rows[0].case), "samples": []}
        for number, row in enumerate(rows):
            shapes = {name: list(array.shape) for name, array in row.outputs.items()}
            described = {"head": row.binary_head, "file": row.file is not None, "shapes": shapes}
            told[model]["samples"].append(described)
            parts = {"json": row.v2_json, "binary": row.v2_binary, "file": row.file or b""}
            parts |= {f"output:{spec.name}": wire.to_bytes(spec, row.outputs[spec.name]) for spec in row.case.outputs}
            arrays |= {f"{model}/{number}/{name}": _bytes(data) for name, data in parts.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, told=_bytes(json.dumps(told).encode()), **arrays)


def load(path: Path) -> dict[str, list[Sample]]:
    """Read what `save` wrote."""
    found: dict[str, list[Sample]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        told = json.loads(arrays["told"].tobytes())
        for model, described in told.items():
            case = _case(described["case"])
            found[model] = []
            for number, row in enumerate(described["samples"]):
                part = {name: arrays[f"{model}/{number}/{name}"].tobytes() for name in ("json", "binary", "file")}
                outputs = {}
                for spec in case.outputs:
                    raw = arrays[f"{model}/{number}/output:{spec.name}"].tobytes()
                    outputs[spec.name] = wire.from_bytes(spec.datatype, raw, row["shapes"][spec.name])
                file = part["file"] if row["file"] else None
                found[model].append(Sample(case, part["json"], part["binary"], row["head"], file, outputs))
    return found


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)


def _told(case: Case) -> dict[str, Any]:
    return {
        "model": case.model,
        "version": case.version,
        "digest": case.digest,
        "inputs": [spec.to_json() for spec in case.inputs],
        "outputs": [spec.to_json() for spec in case.outputs],
        "content": None if case.content is None else case.content.to_json(),
        "absolute": case.absolute,
        "relative": case.relative,
        "random": sorted(case.random),
        "source": case.source,
    }


def _case(told: dict[str, Any]) -> Case:
    inputs, outputs = (tuple(TensorSpec.from_json(spec) for spec in told[kind]) for kind in ("inputs", "outputs"))
    content = None if told["content"] is None else Content.from_json(told["content"])
    return Case(
        told["model"],
        told["version"],
        told["digest"],
        inputs,
        outputs,
        content,
        told["absolute"],
        told["relative"],
        frozenset(told["random"]),
        told["source"],
    )
