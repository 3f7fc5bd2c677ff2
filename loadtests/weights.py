"""Names with weights, as `digits=3,language=1`: of models, and of the ways samples travel."""

from loadtests.server import CannotRun


def weights(words: str, field: str) -> dict[str, float]:
    """Return names with their weights; 1 where none is given. Raise CannotRun."""
    found: dict[str, float] = {}
    for word in words.split(","):
        name, given, weight = word.strip().partition("=")
        try:
            number = float(weight) if given else 1.0
        except ValueError:
            number = 0.0
        if not name or name in found or not 1e-6 < number < 1e6:
            raise CannotRun(f"{field}: expected names, each once, with weights above 0, as a=3,b=1; found {words!r}")
        found[name] = number
    return found
