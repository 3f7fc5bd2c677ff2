"""The audit: the server's own totals, held against the ledger.

    requests_total = OK + ERR + those of CUT that it saw, each reason as often as clients were told it
    in flight = rows queued = 0, once everybody has left
    rows computed = rows answered, and at most those of clients who had left

A server that loses requests, or computes them twice, may still give everybody the right answer; here it shows.
"""

from collections import Counter
from collections.abc import Iterable

from tests.ledger.ledger import Entries, Sent
from tests.ledger.report import Fault, Report
from tests.ledger.totals import Totals

#: Below so many answers, whether requests met in batches is chance.
_ENOUGH = 200


def audit(entries: Entries, totals: Totals, report: Report) -> None:
    """Hold the server's totals against a ledger; what differs becomes a violation in the report."""
    ours: Counter[tuple[str, str]] = Counter()
    cut: Counter[str] = Counter()
    for sent in entries.sent.values():
        for event, *facts in sent.ends:
            if event == "OK":
                ours["ok", "-"] += 1
            elif event == "ERR":
                ours["error", facts[1]] += 1
            elif event == "CUT":
                cut[facts[0]] += 1
    theirs: Counter[tuple[str, str]] = Counter()
    for (outcome, reason), count in totals.requests.items():
        theirs["ok" if outcome == "ok" else "error", reason or "-"] += count
    for key in ours:
        if theirs[key] < ours[key]:
            report.blame(Fault.TOTALS, f"{' '.join(key)}: the client had {ours[key]:,}, the server counts {theirs[key]:,}")
    # A request cut before its head was whole is none to the server; any other may have been noticed in any state.
    unknown = cut.total() + report.ends["LOST"]
    seen = theirs.total() - ours.total()
    if not 0 <= seen <= unknown:
        text = f"the server counts {theirs.total():,} requests, the client {ours.total():,} and {unknown:,} that it gave up"
        report.blame(Fault.TOTALS, text)
    if totals.in_flight or totals.queue_rows:
        text = f"{totals.in_flight} requests are in flight and {totals.queue_rows} rows queued after the end"
        report.blame(Fault.TOTALS, text)
    _check_batches(_ending(entries, "OK"), _ending(entries, "CUT", "LOST", "ERR"), totals, report)
    batch = totals.batch_rows / max(1, totals.batches)
    report.server = f"{theirs.total():,} requests = OK + ERR + {seen:,} of CUT, in flight {totals.in_flight},"
    report.server += f" queued rows {totals.queue_rows}; {totals.batches:,} batches of {batch:.1f} rows"


def _ending(entries: Entries, *events: str) -> Iterable[Sent]:
    return (sent for sent in entries.sent.values() if any(end[0] in events for end in sent.ends))


def _check_batches(ok: Iterable[Sent], others: Iterable[Sent], totals: Totals, report: Report) -> None:
    """Blame rows that were computed twice, or never; and a run in which nobody shared a batch: nobody could be mixed up."""
    rows = [sent.rows for sent in ok]
    most = sum(rows) + sum(sent.rows for sent in others if sent.wants == 200)
    if not sum(rows) <= totals.batch_rows <= most:
        text = f"it computed {totals.batch_rows:,} rows, the client had answers to {sum(rows):,}, and {most:,} could be due"
        report.blame(Fault.TOTALS, text)
    if len(rows) >= _ENOUGH and totals.batches > 0.9 * len(rows):
        report.blame(Fault.HOLLOW, f"{len(rows):,} requests were answered in {totals.batches:,} batches: nobody met anybody")
