"""An artifact of a published version, opened as a stranger would, with whatever runtime this machine has for its format.

ONNX Runtime is enough for ONNX files, whatever they hold; torch is needed for its own formats alone.
"""

from export.exporter import ExportError, Run, exporter_of
from models.manifest import Artifact
from models.repository import ModelVersion


class NotHere(Exception):
    """An artifact cannot be opened on this machine; the message says what is missing."""


def opened(version: ModelVersion, artifact: Artifact, *, threads: int = 1) -> Run:
    """Open an artifact as a stranger would; raise NotHere where its runtime is missing, ExportError where it is refused."""
    path = version.artifact_path(artifact)
    if path.suffix == ".onnx":
        from export.onnx_session import open_onnx

        return open_onnx(path, threads=threads).run
    try:
        exporter = exporter_of(artifact.format)
    except ExportError as error:  # an unknown format, as by a later Sameway, or a package that is missing
        raise NotHere(str(error)) from error
    return exporter.open(path, version.manifest.signature, threads=threads)
