"""Copy what is published in a model repository, and none of its sources: `bake.py MODELS CONTEXT TARGET`.

Run by the Dockerfile, inside the serving environment: a version whose checksums are not right is not baked in. MODELS is a
folder of the build context, which lies at CONTEXT; empty, nothing is baked in and TARGET is an empty folder, for a volume.
"""

import shutil
import sys
from pathlib import Path

from models.profiles import FILENAME as PROFILES
from models.repository import CONFIG, MANIFEST, TRITON_CONFIG, Repository, RepositoryError

#: What a model's folder offers besides its versions.
_POLICY = (CONFIG, TRITON_CONFIG, PROFILES)


def bake(source: Path, target: Path) -> list[str]:
    """Copy every model's versions, configuration and profiles; return the versions, as `digits/1`.

    Raise RepositoryError where there is none, or one is not as it was published.
    """
    repository = Repository(source)
    baked = []
    for model in repository.models():
        for version in repository.versions(model):
            folder = source / model / str(version)
            if links := [path for path in (folder, *folder.rglob("*")) if path.is_symlink()]:
                raise RepositoryError(f"{links[0].relative_to(source)}: expected a file or a folder, found a link")
            if MANIFEST in repository.files(model, version):
                repository.open(model, version)
            shutil.copytree(folder, target / model / str(version))
            baked.append(f"{model}/{version}")
        for name in _POLICY:
            if (target / model).is_dir() and (source / model / name).is_file():
                shutil.copy(source / model / name, target / model / name)
    # They are root's, and another user's server reads them, whatever the umask they were written under.
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not baked:
        raise RepositoryError(f"expected published versions (<model>/<number>/) in {source}, found none")
    return baked


def main() -> int:
    """Bake, and say what; return 1 where it cannot be done."""
    if len(sys.argv) != 4:
        sys.stderr.write("usage: bake.py MODELS CONTEXT TARGET\n")
        return 2
    name, context, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    if not name:
        return 0
    try:
        baked = bake(context / name, target)
    except (RepositoryError, OSError) as error:
        sys.stderr.write(f"MODELS={name}: {error} (.dockerignore says which folders a build sees)\n")
        return 1
    sys.stdout.write(f"baked in: {', '.join(baked)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
