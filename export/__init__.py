"""From a checkpoint, or anyone's module, to checked artifacts: export, compare with the eager model, publish all or none.

`publish.py` is the way through; `exporter.py` the seam where a format is added; `parity.py` what passing means. From Python:
`from export import export_model`.
"""

from typing import TYPE_CHECKING

from models import quiet  # noqa: F401 - before any module here imports ONNX Runtime

if TYPE_CHECKING:
    from export.python_api import export_model

__all__ = ["export_model"]


def __getattr__(name: str) -> object:
    """Return `export_model`, imported when it is asked for: verify, diff and import need no torch."""
    if name != "export_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from export.python_api import export_model

    return export_model
