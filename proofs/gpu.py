"""Proof that a GPU answers as the CPU does, `make gpu`, and what it carries: replay, 1,000 requests at once, rows a second.

    python -m proofs.gpu [--device cuda:0] [--requests 1000] [--json FILE] [--markdown FILE]

Without a GPU that torch can use it says so and exits with 0: nothing is shown, and nothing is broken. It needs torch, numpy
and prometheus_client, and no front end: requests go into the engine of this process.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from models.repository import Repository
from models.tensors import Array
from proofs import gpu_models
from proofs.gpu_figures import Figure, measure, table
from proofs.gpu_models import FORMATS, LARGE, SMALL, Network, Reference
from proofs.verdict import Verdict, at_least, at_most, exit_code, told
from proofs.verdict import table as verdict_table
from serving.backends.base import BackendError
from serving.backends.cuda import check_device
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.replay import ReplayError
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import PRECISIONS
from serving.request import InferRequest

#: A request may wait for all the others.
_TIMEOUT_SECONDS = 300.0
#: Two instances, so that two sessions of one artifact are on the GPU at once.
_INSTANCES = 2


def unavailable(device: str) -> str | None:
    """Return why nothing can be shown on a device, None where it is there."""
    try:
        check_device(device)
    except BackendError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a network is asked all at once, as requests of so many rows each, and what it should answer."""

    network: Network
    rows: Sequence[int]
    images: Array
    wanted: Reference

    @classmethod
    def of(cls, network: Network, requests: int) -> "Asked":
        """Make the requests, of one to three rows, and compute their references."""
        rows = [1 + number % 3 for number in range(requests)]
        images = network.images(sum(rows), seed=5)
        return cls(network, rows, images, gpu_models.reference(network, images))


def prove(root: Path, asked: Asked, format: str, *, device: str) -> list[Verdict]:
    """Open a network on a device, which replays its golden sample, and ask it everything at once."""
    network, rows, images = asked.network, asked.rows, asked.images
    name = f"{network.name}, {format}: "
    try:
        served = _open(root, network, format, device=device, precision=None, queue_rows=max(len(images), network.rows))
    except (BackendError, ReplayError) as error:
        return [Verdict(f"{name}replay", "refused", str(error), False)]
    try:
        stops = np.cumsum(rows)
        futures = [
            served.submit(InferRequest(network.name, 1, {"image": images[stop - count : stop]}))
            for count, stop in zip(rows, stops, strict=True)
        ]
        answers = [future.result(_TIMEOUT_SECONDS).outputs for future in futures]
    finally:
        served.close(drain_seconds=_TIMEOUT_SECONDS)
    found = {output: np.concatenate([answer[output] for answer in answers]) for output in ("scores", "class")}
    return [Verdict(f"{name}replay", "passed", "= passed", True), *_compared(name, asked, found)]


def _compared(name: str, asked: Asked, found: dict[str, Array]) -> list[Verdict]:
    images, wanted = asked.images, asked.wanted
    difference = float(np.abs(found["scores"] - wanted.scores).max())
    # Where the two best scores are as near to each other as rounding, either of them is right.
    sure = wanted.margin > 2 * wanted.tolerance
    wrong = int((found["class"] != wanted.classes)[sure].sum())
    return [
        told(f"{name}requests at once", len(asked.rows)),
        told(f"{name}rows in them", len(images)),
        at_most(f"{name}rows whose exchange would not be noticed", wanted.alike, 0),
        at_least(f"{name}rows of which the CPU is sure", int(sure.sum()), len(images) * 0.9),
        at_most(f"{name}rows decided otherwise", wrong, 0),
        at_most(f"{name}largest difference of a score", difference, wanted.tolerance),
    ]


def prove_precisions(root: Path, network: Network, format: str, *, device: str, precisions: Sequence[str]) -> list[Verdict]:
    """Open a network in each arithmetic: whether its replay keeps the decisions."""
    verdicts = []
    for precision in precisions:
        try:
            _open(root, network, format, device=device, precision=precision).close(drain_seconds=_TIMEOUT_SECONDS)
            reason = None
        except (BackendError, ReplayError) as error:
            reason = str(error)
        figure = "passed" if reason is None else "refused"
        verdicts.append(
            Verdict(f"{network.name}, {format}: replay in {precision}", figure, reason or "= passed", not reason)
        )
    return verdicts


def _open(
    root: Path, network: Network, format: str, *, device: str, precision: str | None, queue_rows: int | None = None
) -> ServedVersion:
    version, config = open_version(Repository(root), network.name, 1, UnverifiedPolicy())
    config = replace(
        config, format=format, device=(device,), precision=precision, instances=_INSTANCES, queue_rows=queue_rows,
        timeout_seconds=_TIMEOUT_SECONDS,
    )  # fmt: skip
    return ServedVersion.open(version, config, Metrics())


def machine(device: str) -> dict[str, str]:
    """Return what figures were measured on."""
    on_gpu = device != "cpu"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
        "system": platform.system() + " " + platform.release(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def markdown(about: dict[str, str], figures: Sequence[Figure]) -> str:
    """Return the figures and where they are from, ready for docs/performance.md."""
    head = (
        f"Measured by `make gpu` on {about['measured'][:10]}: {about['device']}, torch {about['torch']}, CUDA "
        f"{about['cuda']}, Python {about['python']}, {about['system']}. One session; medians of rounds in turns."
    )
    return f"{head}\n\n{table(figures)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove, measure, and write what was found; return the exit code."""
    parser = argparse.ArgumentParser(prog="proofs.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="cpu rehearses the program, and shows nothing of a GPU")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=[SMALL.name, LARGE.name], choices=[SMALL.name, LARGE.name])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    if (why := unavailable(given.device)) is not None:
        print(f"SKIPPED: {why}")
        return 0
    device = check_device(given.device)
    # A processor without instructions for them takes minutes for a batch, and tells nothing.
    precisions = [] if device == "cpu" else list(PRECISIONS)
    verdicts: list[Verdict] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for network in (one for one in (SMALL, LARGE) if one.name in given.networks):
            gpu_models.publish(root, network)
            asked = Asked.of(network, given.requests)
            for format in FORMATS:
                proved = prove(root, asked, format, device=device)
                proved += prove_precisions(root, network, format, device=device, precisions=precisions)
                verdicts += proved
                kept = [one for one in precisions if not any(v.name.endswith(one) and not v.passed for v in proved)]
                figures += measure(
                    root, network, format, device=device, precisions=kept, seconds=given.seconds, rounds=given.rounds
                )
    about = machine(device)
    print(verdict_table(verdicts))
    print(markdown(about, figures))
    if given.json is not None:
        report = {
            "machine": about,
            "verdicts": [asdict(one) for one in verdicts],
            "figures": [one.to_json() for one in figures],
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    if given.markdown is not None:
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        given.markdown.write_text(markdown(about, figures))
    return exit_code(verdicts)


if __name__ == "__main__":
    sys.exit(main())
