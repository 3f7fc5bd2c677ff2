"""The model repository: the tree `<root>/<model>/<version>/` on disk, and the only meeting point of export and serving.

A version is published whole or not at all and never changes afterwards. A reader believes nothing that it has not
checksummed. The layout is Triton's, so either server can read what the other serves.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from models.manifest import Artifact, Golden, Manifest, ManifestError
from models.signing import Signer, SigningError, Trust
from models.tensors import Array, TensorSpec

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
CONFIG = "config.toml"
#: The model configuration of the Triton Inference Server, whose layout this is.
TRITON_CONFIG = "config.pbtxt"
#: The name export gives the golden sample. Where it lies there was a manifest.
GOLDEN = "golden.npz"

#: A model's name is a folder's name and a part of URLs, metrics and logs: nothing in it needs escaping anywhere.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_STAGING = ".staging-"

#: Read whole, before anything is known of them. Labels of 20,000 classes make a manifest of a megabyte.
_MOST_BYTES = {MANIFEST: 16 * 1024 * 1024, SIGNATURE: 1024}
#: What a golden sample may hold once it is inflated: 64 photographs of 1024 × 1024 in FP32 are 768 MiB.
_GOLDEN_BYTES = 1024 * 1024 * 1024


class RepositoryError(Exception):
    """A model or version is missing, incomplete or altered, or could not be published; the message says which and why."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version whose every file has been checksummed. `digest` is the SHA-256 of its manifest's bytes."""

    path: Path
    manifest: Manifest
    digest: str

    def artifact_path(self, artifact: Artifact) -> Path:
        """Return where that artifact lies."""
        return self.path / artifact.file

    def golden(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the golden sample: real inputs, and the outputs the eager model gave for them."""
        file, signature = self.path / self.manifest.golden.file, self.manifest.signature
        try:
            # Opened here, as numpy leaves a file open that turns out to be no archive.
            with file.open("rb") as opened:
                _check_inflated(opened)
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                inputs = {spec.name: _carried(arrays[f"input:{spec.name}"], spec) for spec in signature.inputs}
                outputs = {spec.name: _carried(arrays[f"output:{spec.name}"], spec) for spec in signature.outputs}
        except Exception as error:  # what numpy raises for a file that is no .npz depends on the bytes
            raise RepositoryError(f"{file.name}: not a golden sample of this model: {error}") from error
        return inputs, outputs


class Repository:
    """A model repository on disk. Safe for many readers and, for each model, one publisher at a time (others wait).

    `trust` says whose signatures a reader believes; None: it looks at none.
    """

    def __init__(self, root: Path, *, trust: Trust | None = None) -> None:
        self.root = root
        self._trust = trust

    def models(self) -> list[str]:
        """Return the names of all models: folders that hold a version or a model configuration, or that may not be read."""
        try:
            folders = sorted(path.name for path in self.root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
        except OSError as error:
            raise RepositoryError(f"model repository {self.root}: {error.strerror or error}") from error
        return [name for name in folders if self._is_model(name)]

    def versions(self, model: str) -> list[int]:
        """Return the numbers of all published versions of a model, oldest first; none for an unknown model.

        Raise RepositoryError for a folder that this process may not read.
        """
        try:
            names = [path.name for path in self._folder(model).iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
        except PermissionError as error:
            raise RepositoryError(f"{model}: {error.strerror or error}") from error
        except OSError:
            return []
        return sorted(int(name) for name in names)

    def open(self, model: str, version: int) -> ModelVersion:
        """Read the manifest and verify every checksum; raise RepositoryError naming the file that is not as published."""
        return _read(self._folder(model) / str(version), model, version, self._trust)

    def files(self, model: str, version: int) -> frozenset[str]:
        """Return the names of all that lies in a version's folder, links included; raise RepositoryError."""
        try:
            return frozenset(path.name for path in (self._folder(model) / str(version)).iterdir())
        except OSError as error:
            raise RepositoryError(f"{model}/{version}: {error.strerror or error}") from error

    def read(self, model: str, version: int, file: str) -> bytes:
        """Return the bytes of a file that no manifest vouches for; raise RepositoryError unless it is there and plain.

        What is checksummed and opened afterwards are these very bytes, whatever happens to the file.
        """
        if not _NAME.fullmatch(file):
            raise RepositoryError(f"{model}/{version}: expected a plain file name, found {file!r:.150}")
        try:
            # A link is refused by the system itself, and a pipe does not make anybody wait.
            handle = os.open(self._folder(model) / str(version) / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise RepositoryError(f"{model}/{version}: {file}: expected a regular file")
                with os.fdopen(handle, "rb", closefd=False) as opened:
                    return opened.read()
            finally:
                os.close(handle)
        except OSError as error:
            # ELOOP is how the system refuses a link, ENXIO a socket.
            odd = error.errno in (errno.ELOOP, errno.ENXIO)
            why = "expected a regular file" if odd else error.strerror or error
            raise RepositoryError(f"{model}/{version}: {file}: {why}") from error

    @contextlib.contextmanager
    def staging(self, model: str) -> Iterator[Path]:
        """Give an empty folder to fill and then `publish`; what was not published is gone afterwards."""
        folder = self._folder(model)
        try:
            make_folder(self.root)
            make_folder(folder)
            with locked(folder):
                _remove_abandoned(folder)
                staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
                handle = os.open(staged, os.O_RDONLY | os.O_DIRECTORY)
                # Held as long as this process lives: how a later publisher tells an abandoned folder from one in use.
                fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise RepositoryError(f"cannot write to {folder}: {error.strerror or error}") from error
        try:
            yield staged
        finally:
            os.close(handle)
            shutil.rmtree(staged, ignore_errors=True)

    def publish(self, staged: Path, manifest: Manifest, *, signer: Signer | None = None) -> ModelVersion:
        """Move a complete staging folder into place as the model's next version. Never overwrites.

        The version in `manifest` is replaced by the number that was free, and a `signer` signs the result. Every file is
        checked against the manifest and on the disk before the folder gets its name, so a crash or a full disk leaves the
        old state or the new one. Raise RepositoryError on failure.
        """
        folder = self._folder(manifest.model)
        try:
            with locked(folder):
                version = max(self.versions(manifest.model), default=0) + 1
                data = _bytes_of(replace(manifest, version=version))
                (staged / MANIFEST).write_bytes(data)
                if signer is not None:
                    (staged / SIGNATURE).write_bytes(signer.sign(data))
                published = _read(staged, manifest.model, version, self._trust)
                # A server may run as somebody else, whatever the umask here; and mkdtemp made the folder 0700.
                for path in staged.iterdir():
                    path.chmod(0o755 if path.is_dir() else 0o644)
                    _sync(path)
                staged.chmod(0o755)
                _sync(staged)
                staged.rename(folder / str(version))
                _sync(folder)
        except OSError as error:
            raise RepositoryError(f"cannot publish to {folder}: {error.strerror or error}") from error
        return replace(published, path=folder / str(version))

    def _is_model(self, name: str) -> bool:
        """Tell whether a folder is a model's. One that may not be read counts, so that it is reported and not overlooked."""
        try:
            configured = ((self.root / name / config).is_file() for config in (CONFIG, TRITON_CONFIG))
            return bool(self.versions(name)) or any(configured)
        except (PermissionError, RepositoryError):
            return True

    def _folder(self, model: str) -> Path:
        if not _NAME.fullmatch(model):
            raise RepositoryError(f"model name: expected letters, digits, '_', '-' and '.', found {model!r:.150}")
        return self.root / model


def make_folder(folder: Path) -> None:
    """Make a folder that others may read, whatever the umask; one that is there stays as it is."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o755)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _carried(array: Array, spec: TensorSpec) -> Array:
    """Return a golden array as the server carries it: a file without pickles holds texts at a fixed width."""
    return array.astype(object) if spec.datatype == "BYTES" and array.dtype.kind == "U" else array


def _read(folder: Path, model: str, version: int, trust: Trust | None) -> ModelVersion:
    """Read a version from a folder, verified; raise RepositoryError naming the file that is not as it should be.

    The signature comes first: not even the parser of JSON sees a manifest that nobody trusted has signed.
    """
    data = _whole(folder, MANIFEST, f"{model}/{version}")
    if trust is not None:
        signature = _whole(folder, SIGNATURE, f"{model}/{version}") if os.path.lexists(folder / SIGNATURE) else None
        try:
            trust.check(data, signature)
        except SigningError as error:
            raise RepositoryError(f"{model}/{version}: {SIGNATURE}: {error}") from error
    try:
        manifest = Manifest.from_bytes(data)
    except ManifestError as error:
        raise RepositoryError(f"{model}/{version}: {error}") from error
    if (manifest.model, manifest.version) != (model, version):
        found = f"{manifest.model}/{manifest.version}"
        raise RepositoryError(f"{model}/{version}: {MANIFEST}: expected this model and version, found {found}")
    entries: list[Artifact | Golden] = [*manifest.artifacts, manifest.golden]
    for entry in entries:
        _verify(folder, entry, f"{model}/{version}")
    return ModelVersion(folder, manifest, hashlib.sha256(data).hexdigest())


def _whole(folder: Path, name: str, version: str) -> bytes:
    """Return the bytes of a small file; raise RepositoryError, also for one that is not small."""
    most = _MOST_BYTES[name]
    try:
        with _plain_file(folder, name).open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise RepositoryError(f"{version}: {name}: {error.strerror or error}") from error
    if len(data) > most:
        raise RepositoryError(f"{version}: {name}: expected at most {most:,} bytes, found more")
    return data


def _check_inflated(file: BinaryIO) -> None:
    """Raise ValueError for an archive that would inflate beyond measure; no more than it declares is ever inflated."""
    with zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _GOLDEN_BYTES:
        raise ValueError(f"expected at most {_GOLDEN_BYTES:,} bytes once inflated, found {size:,}")


def _bytes_of(manifest: Manifest) -> bytes:
    """Return the bytes of the manifest; raise RepositoryError if JSON cannot express it."""
    try:
        return manifest.to_bytes()
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{manifest.model}/{manifest.version}: {MANIFEST} cannot be written: {error}") from error


def _verify(folder: Path, entry: Artifact | Golden, version: str) -> None:
    """Raise RepositoryError unless the file is there, plain, and has the size and the checksum it was published with."""
    try:
        path = _plain_file(folder, entry.file)
        size = path.stat().st_size
        if size != entry.size_bytes:
            found = f"{size:,} bytes"
            raise RepositoryError(f"{version}: {entry.file}: expected {entry.size_bytes:,} bytes, found {found}")
        digest = sha256_of(path)
    except OSError as error:
        raise RepositoryError(f"{version}: {entry.file}: {error.strerror or error}") from error
    if digest != entry.sha256:
        raise RepositoryError(f"{version}: {entry.file}: expected sha256 {entry.sha256}, found {digest}: altered")


def _plain_file(folder: Path, name: str) -> Path:
    """Return the path of a regular file directly in `folder`; raise RepositoryError for a path, a link or anything else."""
    if not _NAME.fullmatch(name):
        raise RepositoryError(f"{folder.name}: expected a plain file name, found {name!r:.150}")
    path = folder / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RepositoryError(f"{folder.name}: {name}: expected a regular file")
    return path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the model's publishing lock, a lock on the folder itself."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    """Remove staging folders whose process is gone: nobody holds their lock."""
    for path in folder.glob(f"{_STAGING}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # Its owner has just removed it; or it is a stray file; or another user's, who alone can remove it.
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
