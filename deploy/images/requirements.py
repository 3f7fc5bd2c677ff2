"""What pip is to install for each layer of the images, read from pyproject.toml: `requirements.py FOLDER cpu|cuda`.

Writes FOLDER/serve.txt, torch.txt and train.txt, each of them what comes on top of the one before. Run by the Dockerfile
with the base image's own Python: only the standard library is at hand.

`cpu` names torch's build without CUDA, `2.13.0+cpu`: where pip cannot find it, it says so at once, and does not fetch some
gigabytes of CUDA in its place. `cuda` takes the build that PyPI has, which is one with CUDA, and onnxruntime-gpu.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ACCELERATORS = ("cpu", "cuda")

#: Layer → the extras of pyproject.toml that it brings. What cannot be installed later belongs in: an image has no pip.
LAYERS = {"serve": ("flask", "otel", "signing"), "torch": ("torch",), "train": ("train", "export", "loadtest")}
#: What a machine with a GPU is served with, besides.
_CUDA_EXTRAS = ("gpu",)
#: Follows some weeks after onnxruntime, so it has a pin of its own; with NVIDIA's libraries as wheels.
_ONNXRUNTIME_GPU = "onnxruntime-gpu[cuda,cudnn]==1.31.1"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN_EXTRAS = re.compile(r"sameway\[([\w,-]+)\]")


class RequirementsError(Exception):
    """The accelerator, pyproject.toml or constraints.txt is not as expected; the message says what was found."""


def of_layer(layer: str, accelerator: str, project: dict[str, Any], pins: dict[str, str]) -> list[str]:
    """Return the requirements of a layer, sorted; `project` is pyproject.toml's table, `pins` are those of constraints.txt.

    Raise RequirementsError for an accelerator that there is none of, and for an extra or a pin that is missing.
    """
    if accelerator not in ACCELERATORS:
        raise RequirementsError(f"ACCELERATOR: expected {' or '.join(ACCELERATORS)}, found {accelerator!r}")
    extras = list(LAYERS[layer])
    if layer == "serve" and accelerator == "cuda":
        extras += _CUDA_EXTRAS
    found = {*(project["dependencies"] if layer == "serve" else ()), *_of_extras(extras, project["optional-dependencies"])}
    return sorted(_chosen(requirement, accelerator, pins) for requirement in found)


def _of_extras(extras: Iterable[str], known: dict[str, list[str]]) -> set[str]:
    """Return what extras stand for, with those that they name themselves (`sameway[torch]`)."""
    found: set[str] = set()
    for extra in extras:
        if extra not in known:
            raise RequirementsError(f"pyproject.toml: expected an extra {extra!r}, found {', '.join(sorted(known))}")
        for requirement in known[extra]:
            own = _OWN_EXTRAS.fullmatch(requirement)
            found |= _of_extras(own[1].split(","), known) if own else {requirement}
    return found


def _chosen(requirement: str, accelerator: str, pins: dict[str, str]) -> str:
    name = _name(requirement)
    if name == "torch" and accelerator == "cpu":
        if "torch" not in pins:
            raise RequirementsError("constraints.txt: expected torch==VERSION, found no pin of torch")
        return f"torch=={pins['torch']}+cpu"
    return _ONNXRUNTIME_GPU if name == "onnxruntime" and accelerator == "cuda" else requirement


def pins_of(text: str) -> dict[str, str]:
    """Return the versions that a file of constraints pins, by the packages' names in lower case."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {_name(line): line.partition("==")[2] for line in lines if "==" in line}


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    if found is None:
        raise RequirementsError(f"expected a requirement that begins with a package's name, found {requirement!r}")
    return found[0].lower().replace("_", "-")


def main() -> int:
    """Write the layers' files; return 2 where they cannot be made."""
    if len(sys.argv) != 3:
        sys.stderr.write("usage: requirements.py FOLDER cpu|cuda\n")
        return 2
    folder, accelerator = Path(sys.argv[1]), sys.argv[2]
    try:
        project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
        pins = pins_of(Path("constraints.txt").read_text(encoding="utf-8"))
        made = {layer: of_layer(layer, accelerator, project, pins) for layer in LAYERS}
    except RequirementsError as error:
        sys.stderr.write(f"requirements.py: {error}\n")
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for layer, requirements in made.items():
        (folder / f"{layer}.txt").write_text("\n".join([*requirements, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
