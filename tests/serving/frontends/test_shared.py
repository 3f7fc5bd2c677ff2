import pytest

from serving.errors import ServerBusy
from serving.frontends.shared import Held


def test_bytes_are_held_up_to_the_limit_and_not_one_more() -> None:
    held = Held(10)
    held.add(4)
    held.add(6)
    with pytest.raises(ServerBusy):
        held.add(1)
    assert held.size == 10
