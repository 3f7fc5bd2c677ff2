"""Names of devices: "cpu", and "cuda:N" for the GPU that CUDA numbers N. What is said of one that is not there.

Pure functions: which devices there are is for a runtime to tell.
"""

import re
from collections.abc import Sequence

CPU = "cpu"
#: Four digits are more GPUs than any machine has, and fewer than make a number that Python refuses to read.
_CUDA = re.compile(r"cuda(?::([0-9]{1,4}))?")


def normalised(device: str) -> str | None:
    """Return a device's one name, "cuda" being the first GPU; None for what names no device."""
    if device == CPU:
        return device
    found = _CUDA.fullmatch(device)
    return None if found is None else cuda(int(found[1] or 0))


def cuda(index: int) -> str:
    """Return the name of a GPU."""
    return f"cuda:{index}"


def index_of(device: str) -> int | None:
    """Return the number of a GPU, None for what is no GPU's name."""
    name = normalised(device)
    return None if name is None or name == CPU else int(name.removeprefix("cuda:"))


def missing(device: str, there: Sequence[str], *, why: str = "") -> str:
    """Return what to say of a device that is not among those there are; `why` is the runtime's word for having no other."""
    expected = repr(there[0]) if len(there) == 1 else "one of " + ", ".join(map(repr, there))
    return f"device: expected {expected}, found {device!r}" + (f": {why}" if why else "")
