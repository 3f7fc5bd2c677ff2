"""A servable: one version ready to be opened, whether a manifest vouches for it or it was found as it is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.content import Content
from models.repository import ModelVersion, RepositoryError
from models.tensors import Signature, Tensors
from serving.backends.base import ArtifactFile


@dataclass(frozen=True, slots=True)
class ChecksummedFile:
    """A file that is checksummed once more as it is read to be opened: nobody can exchange it between check and use."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)

    def read_bytes(self) -> bytes:
        """Return what is in it; raise RepositoryError if that is not what it was published with."""
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise RepositoryError(f"{self.name}: altered since it was checked")
        return data


@dataclass(frozen=True, slots=True)
class ServableArtifact:
    """One file that can be opened, and the difference allowed from its golden sample, absolute, per output.

    Outputs in `random` are another each time, and may differ in everything but shape, datatype and finiteness.
    """

    file: ArtifactFile
    tolerance: Mapping[str, float]
    random: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Servable:
    """What a served version is made of.

    digest     SHA-256 of the manifest; where there is none, of the model file
    verified   whether a manifest vouches for every file
    artifacts  by format
    golden     real inputs with their outputs; None where nothing is known but the file
    batching   why rows share an execution, or do not: "manifest", "configured", "probed" or "alone"
    chosen     why it is opened in this format: "configured", "profile", "preferred" or "only" (see choice.py)
    remark     what an operator should know of a version that is ready; "" where all is as it should be
    """

    model: str
    version: int
    digest: str
    verified: bool
    signature: Signature
    content: Content | None
    artifacts: Mapping[str, ServableArtifact]
    golden: tuple[Tensors, Tensors] | None
    batching: str
    chosen: str = "preferred"
    remark: str = ""

    @classmethod
    def published(cls, version: ModelVersion) -> "Servable":
        """Return what a checksummed version is made of; raise RepositoryError for a golden sample that is none."""
        manifest = version.manifest
        return cls(
            model=manifest.model,
            version=manifest.version,
            digest=version.digest,
            verified=True,
            signature=manifest.signature,
            content=manifest.content,
            artifacts={
                artifact.format: ServableArtifact(
                    ChecksummedFile(version.artifact_path(artifact), artifact.sha256), artifact.tolerance, artifact.random
                )
                for artifact in manifest.artifacts
            },
            golden=version.golden(),
            batching="manifest",
        )
