"""A version named on a command line by its folder, `models/digits/3`, or by its model's folder for the newest one."""

from dataclasses import dataclass
from pathlib import Path

from models.repository import ModelVersion, Repository, RepositoryError
from models.signing import Trust


@dataclass(frozen=True, slots=True)
class VersionPath:
    """A published version that is there; what is in its folder has not been looked at."""

    repository: Repository
    model: str
    number: int

    @property
    def name(self) -> str:
        """The version's name as in answers and logs."""
        return f"{self.model}/{self.number}"

    def open(self) -> ModelVersion:
        """Open the version, with every checksum and, where keys are given, its signature; raise RepositoryError."""
        return self.repository.open(self.model, self.number)


def find(word: str, *, trust: Trust | None = None) -> VersionPath:
    """Return the version that a path names; raise RepositoryError where no such folder is."""
    path = Path(word).absolute()
    given = path.name.isdecimal()
    folder = path.parent if given else path
    repository = Repository(folder.parent, trust=trust)
    numbers = repository.versions(folder.name)
    if not numbers or (given and str(int(path.name)) not in map(str, numbers)):
        found = f"the versions {', '.join(map(str, numbers))}" if numbers else "no versions there"
        raise RepositoryError(f"expected the folder of a version, as in models/digits/3, found {word!r}: {found}")
    return VersionPath(repository, folder.name, int(path.name) if given else numbers[-1])
