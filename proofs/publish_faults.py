"""G15, `make publish-faults`: whatever interrupts a publication, the repository holds the old version or the whole new one.

    python -m proofs.publish_faults [--points 50]

A process of its own publishes version 2 (publish_child.py) and is disturbed at 50 points from its first step to its last:
killed, or a call fails with ENOSPC or EIO, or the system cuts files off at some length. Afterwards every version that can
be seen opens with all its checksums and reproduces its golden sample in ONNX Runtime, version 1 is untouched, and the next
publication succeeds and leaves nothing of the interrupted one behind.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from models.repository import Repository, RepositoryError
from proofs.graphs import model_of
from proofs.publish_child import MODEL, REFUSED, ROWS, factor
from proofs.verdict import Verdict, at_least, exit_code, none_of, table, told

FAULTS = ("kill", "ENOSPC", "EIO", "EFBIG")

#: How the disturbed process is started.
CHILD = ("-m", "proofs.publish_child")

#: A publication of a few kilobytes takes a tenth of a second once Python has started; a busy machine may take its time.
_SECONDS = 60.0

#: Bytes that only make the file longer than one buffer, so that it can be cut off at many lengths.
_PADDING = 20_000


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder with the model files of all seeds, in which each publication gets a repository of its own."""

    folder: Path
    child: Sequence[str] = CHILD

    def file(self, seed: int) -> Path:
        """Return the model file of a seed."""
        return self.folder / f"{seed}.onnx"

    def publish(self, root: Path, seed: int, fault: str = "none", point: int = 0) -> "subprocess.CompletedProcess[str]":
        """Publish in a process of its own, disturbed."""
        words = [sys.executable, *self.child, str(root), str(self.file(seed)), str(seed), fault, str(point)]
        return subprocess.run(
            words, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=_SECONDS, check=False
        )


def write_models(folder: Path) -> None:
    """Write a model file for each of three publications: the old one, the disturbed one, the next one."""
    for seed in range(3):
        nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
        constants = [numpy_helper.from_array(np.array(factor(seed), np.float32), "factor")]
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y")]
        model = model_of(helper.make_graph(nodes, MODEL, tensors[:1], tensors[1:], constants))
        model.doc_string = f"{seed}" * _PADDING
        onnx.save(model, folder / f"{seed}.onnx")


def points(last: int, count: int) -> list[int]:
    """Return so many points from 1 to the last, spread evenly; all of them where there are fewer."""
    return sorted({int(point) for point in np.linspace(1, last, min(count, last)).round()})


def disturb(scene: Scene, fault: str, point: int) -> tuple[str, list[str]]:
    """Disturb one publication; return which state it left, and what is wrong with it."""
    with tempfile.TemporaryDirectory(dir=scene.folder) as folder:
        root = Path(folder)
        first = scene.publish(root, 0)
        if first.returncode:
            return "nothing", [f"the undisturbed publication: {first.stderr}"]
        before = _bytes_of(root / MODEL / "1")
        done = scene.publish(root, 1, fault, point)
        wrong = _told_wrongly(done, fault)
        wrong += _problems(root, before, seeds=(0, 1))
        state = "new" if 2 in Repository(root).versions(MODEL) else "old"
        if done.returncode == 0 and state == "old":
            wrong.append("it said that version 2 is published")
        after = scene.publish(root, 2)
        if after.returncode:
            wrong.append(f"the next publication: {after.stderr.strip()}")
        wrong += [
            f"after the next: {problem}" for problem in _problems(root, before, (0, 1, 2) if state == "new" else (0, 2))
        ]
        expected = {"1", "2", "3"} if state == "new" else {"1", "2"}
        left = {path.name for path in (root / MODEL).iterdir()}
        if left != expected:
            wrong.append(f"after the next: expected {sorted(expected)}, found {sorted(left)}")
        return state, wrong


def _told_wrongly(done: "subprocess.CompletedProcess[str]", fault: str) -> list[str]:
    """Return what is wrong with how the disturbed process ended."""
    expected = {-signal.SIGKILL} if fault == "kill" else {0, REFUSED}
    if done.returncode in expected:
        return []
    last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
    return [f"exit code {done.returncode}: {last}"]


def _problems(root: Path, before: dict[str, bytes], seeds: Sequence[int]) -> list[str]:
    """Return what is wrong with the versions there are: each must be whole, and the model of its seed."""
    repository = Repository(root)
    wrong = [] if _bytes_of(root / MODEL / "1") == before else ["version 1 has changed"]
    strange = [path.name for path in (root / MODEL).iterdir() if not path.name.isdigit() and path.name[0] != "."]
    if strange:
        wrong.append(f"a third thing: {', '.join(strange)}")
    for number in repository.versions(MODEL):
        try:
            version = repository.open(MODEL, number)
            inputs, outputs = version.golden()
        except RepositoryError as error:
            wrong.append(str(error))
            continue
        session = onnxruntime.InferenceSession(version.path / "model.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(["y"], inputs)
        seed = seeds[number - 1] if number <= len(seeds) else None
        if seed is None or version.manifest.origin.seed != seed:
            wrong.append(f"version {number} is of seed {version.manifest.origin.seed}, expected {seed}")
        elif not (np.array_equal(found, outputs["y"]) and np.array_equal(found, ROWS * np.float32(factor(seed)))):
            wrong.append(f"version {number} does not reproduce its golden sample")
    return wrong


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def prove(fault: str, *, count: int, child: Sequence[str] = CHILD) -> list[Verdict]:
    """Disturb publications by one fault at so many points; return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), child)
        write_models(scene.folder)
        root = scene.folder / "counted"
        scene.publish(root, 0)
        steps = int(scene.publish(root, 1).stdout)
        largest = max(len(data) for data in _bytes_of(root / MODEL / "2").values())
        # Cut off at its whole length, the largest file is whole: the last point is one at which nothing happens.
        where = points(largest if fault == "EFBIG" else steps, count)
        states: Counter[str] = Counter()
        wrong: list[str] = []
        for point in where:
            state, found = disturb(scene, fault, point)
            states[state] += 1
            wrong += [f"point {point}: {problem}" for problem in found]
    unit = "bytes of the largest file" if fault == "EFBIG" else "steps of a publication"
    return [
        told(unit, largest if fault == "EFBIG" else steps),
        at_least("points", len(where), min(count, 50)),
        told("left the old version", states["old"]),
        told("left the new version, whole", states["new"]),
        none_of("left a third thing, or were wrong otherwise", wrong),
    ]


def main() -> int:
    """Print what was found for each fault; return 1 where the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50, help="points at which a publication is disturbed, per fault (50)")
    arguments = parser.parse_args()
    code = 0
    for fault in FAULTS:
        verdicts = prove(fault, count=arguments.points)
        print(f"publish-faults: {fault}", table(verdicts), sep="\n", flush=True)
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
