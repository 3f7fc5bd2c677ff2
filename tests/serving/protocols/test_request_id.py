import itertools
import uuid

import pytest

from serving.protocols.request_id import RequestIds


@pytest.mark.parametrize("given", ["a", "A.b_c:d/e+f=g@h-1", str(uuid.UUID(int=7)), "x" * 128])
def test_a_client_s_own_id_is_kept_as_it_is(given: str) -> None:
    assert RequestIds().of({"x-request-id": given}) == given


@pytest.mark.parametrize(
    "given",
    ["", " ", "a b", "x" * 129, "a\n", "a\r\nset-cookie: b", "\x1b[31m", 'a"', "a,b", "é", "\uff11", "a\0", "a\x7f", "%41"],
)
def test_an_id_that_could_say_more_than_itself_is_replaced(given: str) -> None:
    found = RequestIds().of({"x-request-id": given})
    assert found != given
    assert RequestIds().of({"x-request-id": found}) == found  # what we make, we would accept


def test_ids_made_here_differ_within_a_process_and_between_two() -> None:
    first, second = RequestIds(), RequestIds()
    found = [ids.of({}) for ids, _ in itertools.product((first, second), range(1000))]
    assert len(set(found)) == 2000
