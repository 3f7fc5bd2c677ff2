"""The plan: its shares are those of docs/ledger.md, its liars come in pairs, and every body is what it says."""

import json
from collections import Counter

import pytest

from tests.ledger import bodies
from tests.ledger.plan import Cut, Kind, Request, plan

REQUESTS = 20_000
PLAN = list(plan(1, REQUESTS))


def test_the_shares_are_those_asked_for() -> None:
    kinds = Counter(request.kind for request in PLAN)
    cuts = Counter(request.cut for request in PLAN if request.cut)
    shares: dict[str, float] = {kind: count / REQUESTS for kind, count in kinds.items()}
    assert shares[Kind.LIAR] == pytest.approx(0.05, abs=0.01)
    assert shares[Kind.WIDE] == pytest.approx(0.02, abs=0.005)
    assert shares[Kind.DATATYPE] == pytest.approx(0.02, abs=0.005)
    assert shares[Kind.NAN] == pytest.approx(0.01, abs=0.005)
    assert cuts.total() / REQUESTS == pytest.approx(0.02, abs=0.005)
    assert set(cuts) == set(Cut)


def test_liars_come_in_pairs_whose_lies_cancel_out() -> None:
    blocks: dict[int, list[Request]] = {}
    for request in PLAN:
        if request.kind is Kind.LIAR:
            blocks.setdefault(request.number // 16, []).append(request)
    for one, other in blocks.values():
        assert one.rows != one.sent_rows
        assert (one.rows, one.sent_rows) == (other.sent_rows, other.rows)


def test_ids_are_shared_and_missing() -> None:
    ids = Counter(request.id for request in PLAN)
    assert ids[None] == REQUESTS / 20
    assert sum(count == 2 for id, count in ids.items() if id is not None) == REQUESTS / 50
    assert max(count for id, count in ids.items() if id is not None) == 2


def test_both_encodings_are_in_use_in_both_directions() -> None:
    assert len({(request.binary, request.binary_answer) for request in PLAN[:100]}) == 4
    assert {request.rows for request in PLAN[:100]} == {1, 2, 3, 4}


#: Only JSON can say these.
JSON_ONLY = (Kind.TEXT, Kind.RAGGED)


@pytest.mark.parametrize(
    ("kind", "binary"), [(kind, binary) for kind in Kind for binary in (False, True) if not (binary and kind in JSON_ONLY)]
)
def test_a_body_is_as_bad_as_its_kind_says(kind: Kind, binary: bool) -> None:
    sent = 3 if kind is Kind.LIAR else 2
    head, raw = bodies.body(Request(5, kind, 2, sent, 0, "id", binary, True), seed=1)
    (tensor,) = json.loads(head)["inputs"]
    declared = tensor["shape"][0] * tensor["shape"][1]
    found = len(raw) // 4 if binary else len(tensor["data"])
    assert tensor["shape"] == ([2, 7] if kind is Kind.WIDE else [2, 8])
    assert tensor["datatype"] == ("INT32" if kind is Kind.DATATYPE else "FP32")
    if kind is Kind.RAGGED:
        assert [len(row) for row in tensor["data"]] == [8, 7]
    else:
        assert found - declared == {Kind.LIAR: 8, Kind.SHORT: -1, Kind.LONG: 1}.get(kind, 0)
    if not binary:
        assert ("NaN" in head.decode(), "seven" in head.decode()) == (kind is Kind.NAN, kind is Kind.TEXT)
