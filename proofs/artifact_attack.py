"""G12: what was altered or crafted in the model repository is refused before any parser sees it, and nothing of it runs.

    python -m proofs.artifact_attack                 600 bit flips, every crafted package

An honest version, signed, is spoilt in every way that crafted.py knows, and opened as the server opens it. Parsers are
watched: ONNX Runtime, libtorch, torch.export and numpy. Exit code 1 where one of them saw what it must not, a pickle ran,
an error was not an operator's, or an honest version was refused.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import onnxruntime
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.repository import MANIFEST, SIGNATURE, Repository, RepositoryError
from models.signing import Signer, Trust
from proofs.crafted import packages
from proofs.crafted_contents import Canary
from proofs.package import Package, Scene
from serving.backends import exported_program
from serving.backends.base import BackendError
from serving.engine.finding import UnverifiedPolicy, open_version
from serving.engine.replay import ReplayError
from serving.engine.served import ServedVersion
from serving.metrics import Metrics
from serving.model_config import ConfigError
from tests import toys

#: What the server says of a version that it cannot serve. Anything else would be a traceback in its log.
_REFUSALS = (RepositoryError, BackendError, ReplayError, ConfigError)

#: What the honest versions have, each to be opened.
FORMATS = ("onnx", "torchscript", "exported_program")

#: Seconds within which each package must be refused, on a busy machine too: a pipe or a device must not be waited for.
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt to open a version; `refusal` None: it opened.

    `parsed` counts calls of parsers, `loaded` those of them that are a runtime's.
    """

    parsed: int
    loaded: int
    refusal: str | None
    fault: str | None
    seconds: float

    @property
    def line(self) -> str:
        """The line of defence that ended it."""
        text = self.refusal
        if text is None:
            return "opened"
        marks = {
            "manifest.json.sig": "signature",
            "altered": "checksum",
            "bytes, found": "size",
            "plain file name": "file name",
            "regular file": "plain file",
            "No such file": "missing file",
            "this model and version": "model and version",
            "once inflated": "inflated size",
            "golden sample:": "golden replay",
            "not a golden sample": "numpy, without pickle",
            "cannot open it": "runtime",
            "model.pt2: ": "rules of programs",
        }
        return next((name for mark, name in marks.items() if mark in text), "manifest")


class Repositories:
    """An honest repository, and copies of it to be spoilt."""

    def __init__(self, root: Path) -> None:
        self._root = root
        key = Ed25519PrivateKey.generate()
        self.required = Trust([key.public_key()], required=True)
        honest = root / "honest"
        for name, seed in (("toy", 0), ("toy", 1), ("other", 2)):
            version = toys.publish(honest, name, seed=seed, formats=FORMATS)
            data = (version.path / MANIFEST).read_bytes()
            (version.path / SIGNATURE).write_bytes(Signer(key).sign(data))
        self._honest = honest

    @contextlib.contextmanager
    def copy(self) -> Iterator[Scene]:
        """Give a copy of everything; version 1 of the toy is the one to be spoilt."""
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            shutil.copytree(self._honest, folder / "models")
            (folder / "models" / "outside").mkdir()
            yield Scene(folder / "models" / "toy" / "1", folder / "models" / "outside", folder / "canary")
        finally:
            shutil.rmtree(folder)


def attempt(scene: Scene, trust: Trust | None, format: str) -> Outcome:
    """Open version 1 of the toy as the server does, with its parsers watched."""
    calls: Counter[str] = Counter()

    def watched(parser: Callable[..., Any]) -> Callable[..., Any]:  # Any: each parser has a signature of its own
        def call(*given: Any, **named: Any) -> Any:
            calls[parser.__module__] += 1
            return parser(*given, **named)

        return call

    began, refusal, fault = time.monotonic(), None, None
    parsers = ((onnxruntime, "InferenceSession"), (torch.jit, "load"), (exported_program, "load_pt2"), (np, "load"))
    with contextlib.ExitStack() as watch:
        for place, name in parsers:
            watch.enter_context(mock.patch.object(place, name, watched(getattr(place, name))))
        try:
            repository = Repository(scene.folder.parent.parent, trust=trust)
            policy = UnverifiedPolicy(require_manifest=trust is not None and trust.required)
            version, config = open_version(repository, "toy", 1, policy)
            ServedVersion.open(version, replace(config, format=format), Metrics()).close(drain_seconds=5.0)
        except _REFUSALS as error:
            refusal = str(error)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is what this program looks for
            fault = f"{type(error).__name__}: {error}"
    return Outcome(calls.total(), calls.total() - calls[np.load.__module__], refusal, fault, time.monotonic() - began)


def flip_bits(repositories: Repositories, flips: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Flip one bit at a time, in every file in turn; return which lines of defence refused, and what went wrong."""
    chance = random.Random(seed)
    lines: Counter[str] = Counter()
    wrong: list[str] = []
    with repositories.copy() as scene:
        files = sorted(scene.folder.iterdir())
        for number in range(flips):
            file = files[number % len(files)]
            honest = file.read_bytes()
            place, bit = chance.randrange(len(honest)), chance.randrange(8)
            file.write_bytes(honest[:place] + bytes([honest[place] ^ 1 << bit]) + honest[place + 1 :])
            where = f"bit {bit} of byte {place} of {file.name}"
            outcome = attempt(scene, repositories.required, "onnx")
            wrong += [f"{where}: {problem}" for problem in _problems(outcome, "before")]
            lines[outcome.line] += 1
            if file.name not in (MANIFEST, SIGNATURE):  # these checksums alone protect, without any signature
                wrong += [f"{where}, unsigned: {problem}" for problem in _problems(attempt(scene, None, "onnx"), "before")]
            file.write_bytes(honest)
        honest_again = attempt(scene, repositories.required, "onnx")
        if honest_again.refusal or honest_again.fault:
            wrong.append(f"the honest version: {honest_again.refusal or honest_again.fault}")
    return lines, wrong


def attack(repositories: Repositories, package: Package) -> tuple[str, str, list[str]]:
    """Try one package with signatures required and without any; return both lines of defence and what went wrong."""
    with repositories.copy() as scene:
        package.make(scene)
        signed = attempt(scene, repositories.required, package.formats[0])
        wrong = [f"signatures required: {problem}" for problem in _problems(signed, "before")]
        lines = []
        for format in package.formats:
            unsigned = attempt(scene, None, format)
            problems = _problems(unsigned, package.without_signature)
            wrong += [f"no signatures, {format}: {problem}" for problem in problems]
            lines.append(unsigned.line)
        if scene.canary.exists():
            wrong.append("its code ran")
    return signed.line, " / ".join(dict.fromkeys(lines)), wrong


def _problems(outcome: Outcome, expected: Literal["before", "unloaded", "harmless"]) -> list[str]:
    """Return what is wrong with an outcome; crafted.py says what is expected."""
    found = []
    if outcome.fault is not None:
        found.append(f"not an operator's error: {outcome.fault}")
    if expected != "harmless" and outcome.refusal is None and outcome.fault is None:
        found.append("opened")
    calls = {"before": outcome.parsed, "unloaded": outcome.loaded, "harmless": 0}[expected]
    if calls:
        found.append(f"{calls} calls of parsers")
    if outcome.seconds > _SECONDS:
        found.append(f"took {outcome.seconds:.0f} s")
    return found


def prove_the_prover(repositories: Repositories) -> list[str]:
    """Return what is wrong with the watch itself: an honest version must be parsed, and a pickle's canary must sing."""
    wrong = []
    with repositories.copy() as scene:
        for format in FORMATS:
            outcome = attempt(scene, repositories.required, format)
            if outcome.parsed != 2 or outcome.line != "opened":
                wrong.append(
                    f"honest {format}: {outcome.parsed} calls of parsers, {outcome.refusal or outcome.fault or 'opened'}"
                )
        make, given = Canary(scene.canary).__reduce__()
        make(*given)
        if not scene.canary.exists():
            wrong.append("the canary does not sing")
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Attack, print the figures, and return 1 where the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=600, help="bits to flip")
    parser.add_argument("--seed", type=int, default=0, help="which bits")
    arguments = parser.parse_args(argv)
    began, say = time.monotonic(), sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        repositories = Repositories(Path(folder))
        wrong = prove_the_prover(repositories)
        lines, found = flip_bits(repositories, arguments.flips, arguments.seed)
        wrong += found
        crafted = packages()
        say(f"{'package':<58} {'signatures required':<22} none required, in each format\n")
        for package in crafted:
            signed, unsigned, found = attack(repositories, package)
            wrong += [f"{package.name}: {problem}" for problem in found]
            say(f"{package.name:<58} {signed:<22} {unsigned}\n")
    refused = ", ".join(f"{count} by {line}" for line, count in lines.most_common())
    say(f"\n{arguments.flips} bit flips (seed {arguments.seed}): {refused}\n")
    say(f"{len(crafted)} crafted packages, in {time.monotonic() - began:.1f} s; {len(wrong)} went wrong\n")
    for problem in wrong:
        say(f"BROKEN  {problem}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
