"""The judge, on ledgers written by hand: one that is in order, and every way in which one can be out of order."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.ledger import ledger, tracer
from tests.ledger.judge import judge
from tests.ledger.ledger import Ledger
from tests.ledger.report import Fault, Report
from tests.ledger.totals import Totals

SEED, VERSION = 5, 2


def rows_of(number: int, rows: int) -> str:
    """Return the right answer to a request, as a ledger has it."""
    right = tracer.oracle([tracer.lanes(SEED, number, row) for row in range(rows)], VERSION)
    return right.astype("<f4").tobytes().hex()


class Story:
    """A ledger to be: SENT lines and ends that are in order, for a test to spoil."""

    def __init__(self) -> None:
        self.lines: dict[int, list[tuple[object, ...]]] = {}
        for number, rows in enumerate((1, 2, 2, 3)):
            self.lines[number] = [self.sent(number, rows), self.ok(number, rows)]
        self.lines[4] = [self.sent(4, 2, kind="liar", wants=400), ("ERR", 4, 400, "invalid_input", None)]
        self.lines[5] = [self.sent(5, 1), ("CUT", 5, "waiting")]
        self.planned = 6

    def sent(self, number: int, rows: int, *, kind: str = "honest", wants: int = 200) -> tuple[object, ...]:
        return ("SENT", number, number, kind, wants, rows, "abc", 1, f"id-{number}")

    def ok(self, number: int, rows: int, *, of: int | None = None, id: str | None = None) -> tuple[object, ...]:
        return ("OK", number, VERSION, "abc", id or f"id-{number}", rows_of(number if of is None else of, rows))

    def judged(self, file: Path, totals: Totals | None = None, *, refusals: float = 0.0) -> Report:
        with Ledger(file) as writer:
            writer.write("RUN", SEED, self.planned)
            for lines in self.lines.values():
                for event, *facts in lines:
                    writer.write(str(event), *facts)
        return judge(ledger.read(file), totals, refusals=refusals)


def test_a_ledger_in_order_passes(tmp_path: Path) -> None:
    report = Story().judged(tmp_path / "ledger")
    assert report.passed, str(report)
    assert report.ends == Counter(OK=4, ERR=1, CUT=1)
    assert report.rows == 8
    assert "PASSED" in str(report)


def swap(story: Story) -> None:
    story.lines[1][1], story.lines[2][1] = story.ok(1, 2, of=2), story.ok(2, 2, of=1)


def give_twice(story: Story) -> None:
    story.lines[1][1] = story.ok(1, 2, of=2)


def reverse_rows(story: Story) -> None:
    right = rows_of(1, 2)
    story.lines[1][1] = (*story.ok(1, 2)[:-1], right[64:] + right[:64])


def round_rows(story: Story) -> None:
    rows = np.frombuffer(bytes.fromhex(rows_of(3, 3)), "<f4").astype(np.float16).astype("<f4")
    story.lines[3][1] = (*story.ok(3, 3)[:-1], rows.tobytes().hex())


def shorten(story: Story) -> None:
    story.lines[3][1] = story.ok(3, 2)


def accept_the_liar(story: Story) -> None:
    story.lines[4][1] = story.ok(4, 2)


def feed_the_liar(story: Story) -> None:
    story.lines[4][1] = story.ok(4, 2, of=3)


def end_twice(story: Story) -> None:
    story.lines[0].append(story.ok(0, 1))


def never_end(story: Story) -> None:
    del story.lines[0][1]


def lose(story: Story) -> None:
    story.lines[0][1] = ("LOST", 0, "eof")


def not_send(story: Story) -> None:
    story.planned = 7


def end_what_never_began(story: Story) -> None:
    story.lines[9] = [story.ok(9, 1)]


def stray(story: Story) -> None:
    story.lines[9] = [("STRAY", 3, "abc")]


def swap_ids(story: Story) -> None:
    story.lines[1][1], story.lines[2][1] = story.ok(1, 2, id="id-2"), story.ok(2, 2, id="id-1")


def fail_the_honest(story: Story) -> None:
    story.lines[0][1] = ("ERR", 0, 500, "inference_failed", None)


def blame_the_honest(story: Story) -> None:
    story.lines[0][1] = ("ERR", 0, 400, "invalid_input", None)


def fail_the_liar(story: Story) -> None:
    story.lines[4][1] = ("ERR", 4, 500, "internal_error", None)


def say_no_reason(story: Story) -> None:
    story.lines[4][1] = ("ERR", 4, 400, None, None)


def refuse_for_ever(story: Story) -> None:
    story.lines[0][1] = ("ERR", 0, 503, "server_busy", None)


def refuse(story: Story) -> None:
    story.lines[0][1] = ("ERR", 0, 429, "overloaded", 1)


def answer_nothing(story: Story) -> None:
    story.lines[0][1] = ("OK", 0, None, "abc", None, None)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (swap, Fault.SWAPPED),
        (give_twice, Fault.DUPLICATED),
        (reverse_rows, Fault.SWAPPED),
        (round_rows, Fault.WRONG),
        (shorten, Fault.WRONG),
        (accept_the_liar, Fault.STATUS),
        (feed_the_liar, Fault.DUPLICATED),
        (end_twice, Fault.DUPLICATED),
        (never_end, Fault.LOST),
        (lose, Fault.LOST),
        (not_send, Fault.LEDGER),
        (end_what_never_began, Fault.LEDGER),
        (stray, Fault.DUPLICATED),
        (swap_ids, Fault.ID),
        (fail_the_honest, Fault.STATUS),
        (blame_the_honest, Fault.STATUS),
        (fail_the_liar, Fault.STATUS),
        (say_no_reason, Fault.STATUS),
        (refuse_for_ever, Fault.STATUS),
        (refuse, Fault.REFUSED),
        (answer_nothing, Fault.WRONG),
    ],
)
def test_what_is_out_of_order_is_found(spoil: Callable[[Story], None], fault: Fault, tmp_path: Path) -> None:
    story = Story()
    spoil(story)
    report = story.judged(tmp_path / "ledger")
    assert fault in report.faults, str(report)
    assert "FAILED" in str(report)


def test_a_swapped_row_is_reported_with_its_owner(tmp_path: Path) -> None:
    story = Story()
    swap(story)
    report = story.judged(tmp_path / "ledger")
    assert "swapped: row 1 of request 2 (honest) is row 1 of request 1 (honest)" in str(report)


def test_refusals_may_be_allowed(tmp_path: Path) -> None:
    story = Story()
    refuse(story)
    assert story.judged(tmp_path / "ledger", refusals=0.2).passed


#: What a server of ours would say of the story: all ended requests, and the one cut while it waited.
COUNTED = Counter({("ok", ""): 4, ("refused", "invalid_input"): 1, ("cancelled", "cancelled"): 1})


@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_server_may_have_seen_the_cut_one_or_not(cancelled: int, tmp_path: Path) -> None:
    counted = COUNTED - Counter({("cancelled", "cancelled"): 1 - cancelled})
    report = Story().judged(tmp_path / "ledger", Totals(counted, batches=2, batch_rows=8 + cancelled))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    "totals",
    [
        Totals(COUNTED + Counter({("ok", ""): 1}), batches=2, batch_rows=8),
        Totals(COUNTED - Counter({("ok", ""): 1}), batches=2, batch_rows=8),
        Totals(COUNTED - Counter({("refused", "invalid_input"): 1}), batches=2, batch_rows=8),
        Totals(COUNTED, batches=2, batch_rows=7),
        Totals(COUNTED, batches=2, batch_rows=10),
        Totals(COUNTED, batches=2, batch_rows=8, in_flight=1),
        Totals(COUNTED, batches=2, batch_rows=8, queue_rows=1),
    ],
    ids=["one more", "one less", "a refusal less", "uncomputed", "computed twice", "in flight", "queued"],
)
def test_a_server_that_counts_otherwise_is_found(totals: Totals, tmp_path: Path) -> None:
    report = Story().judged(tmp_path / "ledger", totals)
    assert set(report.faults) == {Fault.TOTALS}, str(report)


def test_a_run_in_which_nobody_met_anybody_proves_nothing(tmp_path: Path) -> None:
    story = Story()
    story.lines = {number: [story.sent(number, 1), story.ok(number, 1)] for number in range(300)}
    story.planned = 300
    totals = Totals(Counter({("ok", ""): 300}), batches=300, batch_rows=300)
    assert set(story.judged(tmp_path / "ledger", totals).faults) == {Fault.HOLLOW}


def test_totals_are_read_from_the_exposition() -> None:
    totals = Totals.of(
        "# HELP sameway_requests_total x\n"
        'sameway_requests_total{model="tracer",outcome="ok",reason="",version="1"} 3.0\n'
        'sameway_requests_total{model="tracer",outcome="ok",reason="",version="2"} 4.0\n'
        'sameway_requests_total{model="digits",outcome="ok",reason="",version="1"} 9.0\n'
        'sameway_batch_rows_count{model="tracer",version="1"} 2.0\n'
        'sameway_batch_rows_sum{model="tracer",version="1"} 1.5e+01\n'
        'sameway_queue_rows{model="tracer",version="1"} 0.0\n'
        "sameway_in_flight 1.0\n"
    )
    assert totals == Totals(Counter({("ok", ""): 7}), batches=2, batch_rows=15, in_flight=1, queue_rows=0)
    assert totals.since(totals) == Totals(in_flight=1)
