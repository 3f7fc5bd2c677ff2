"""A repository that publishes file by file into the version's own folder: what publish_faults.py must find out."""

import shutil
import sys
from pathlib import Path

from models.manifest import Manifest
from models.repository import MANIFEST, ModelVersion, Repository
from models.signing import Signer
from proofs import publish_child

#: Small, so that most of its steps are within the window in which the version is incomplete.
_CHUNK = 256


class InPlace(Repository):
    def publish(self, staged: Path, manifest: Manifest, *, signer: Signer | None = None) -> ModelVersion:
        published = super().publish(staged, manifest, signer=signer)
        files = {path.name: path.read_bytes() for path in published.path.iterdir()}
        shutil.rmtree(published.path)
        published.path.mkdir()
        for name in sorted(files, key=lambda name: name != MANIFEST):
            with (published.path / name).open("wb") as file:
                for start in range(0, len(files[name]), _CHUNK):
                    file.write(files[name][start : start + _CHUNK])
        return published


if __name__ == "__main__":
    vars(publish_child)["Repository"] = InPlace
    sys.exit(publish_child.main())
