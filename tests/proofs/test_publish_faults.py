"""The quick form of `make publish-faults`: a few points of each fault; and that it can find one out."""

import pytest

from proofs.publish_faults import FAULTS, points, prove
from proofs.verdict import table


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disturbed_publication_leaves_the_old_version_or_the_whole_new_one(fault: str) -> None:
    verdicts = prove(fault, count=3)
    assert all(one.passed for one in verdicts), "\n" + table(verdicts)
    # The first step leaves the old version, the last one the new: both were seen.
    assert [one.figure == "0" for one in verdicts if one.name.startswith("left the ")] == [False, False]


@pytest.mark.parametrize("fault", ["kill", "ENOSPC"])
def test_a_publication_in_place_is_found_out(fault: str) -> None:
    verdicts = prove(fault, count=4, child=("-m", "tests.proofs.publish_in_place"))
    assert not verdicts[-1].passed


def test_points_are_spread_from_the_first_step_to_the_last() -> None:
    assert points(9, 3) == [1, 5, 9]
    assert points(3, 50) == [1, 2, 3]
    assert len(points(112, 50)) == 50
