"""The whole field: every side there is, in the order of the tables, and why some are not in it."""

from collections.abc import Sequence
from pathlib import Path

from loadtests.benchmark import behind_nginx, fastapi_by_hand, flask_by_hand, sameway
from loadtests.benchmark.peers import sides as peers
from loadtests.benchmark.side import Absent, CannotRun, Side

#: Beside what ratios are shown: what one gets without any framework, on all cores of the machine that goals speak of.
MEASURE = "FastAPI by hand, 2 workers"


def gather(
    *, environments: Path | None, against: Path | None, names: Sequence[str] | None
) -> tuple[list[Side], list[Absent]]:
    """Return the sides to measure and those left out.

    `environments` is where the peers' environments are (None: no peers), `against` another checkout, `names` words of
    which a side's name must hold one (None: all).
    """
    by_hand = [fastapi_by_hand.side(workers=1), fastapi_by_hand.side(workers=2), flask_by_hand.side(workers=2)]
    found, absent = sameway.sides()
    balanced, unbalanced = behind_nginx.sides()
    found, absent = [*found, *balanced], [*absent, *unbalanced]
    if against is not None:
        if not (against / "cli.py").is_file():
            raise CannotRun(f"--against: expected a checkout of this project, found {against}")
        others, lacking = sameway.sides(root=against.resolve())
        found, absent = [*found, *others], [*absent, *lacking]
    found += by_hand
    if environments is not None:
        there, missing = peers.sides(environments.absolute())
        found, absent = [*found, *there], [*absent, *missing]
    if names is None:
        return found, absent
    chosen = [side for side in found if any(name.lower() in side.name.lower() for name in names)]
    if not chosen:
        raise CannotRun(f"--sides: expected words of {', '.join(repr(side.name) for side in found)}, found {names}")
    return chosen, [one for one in absent if any(name.lower() in one.side.lower() for name in names)]
