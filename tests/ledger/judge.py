"""The judge: reads a ledger, and holds it against the equations.

    SENT = OK + ERR + CUT + LOST, LOST = 0, and no request has two ends
    every row of an OK names itself, and equals the oracle
    every ERR is what its body calls for, or 429 / 503 with Retry-After, or 504
    the server counted what the client counted (audit.py)

A row that is not the right one is turned back into its name, so the report says from whom it came.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from tests.ledger import bodies, tracer
from tests.ledger.audit import audit
from tests.ledger.ledger import Entries, Sent
from tests.ledger.plan import Kind
from tests.ledger.report import Fault, Report
from tests.ledger.totals import Totals

#: Answers compared at once.
_CHUNK = 20_000


class _Answered(NamedTuple):
    """An OK: its request, and what came."""

    number: int
    sent: Sent
    version: str
    rows: tracer.Floats


def judge(entries: Entries, totals: Totals | None = None, *, refusals: float = 0.0) -> Report:
    """Return the verdict on a ledger; `totals` are the server's own for the time of the run, None if it has none.

    `refusals` is the share of requests that may be refused or late: none where nobody overloads the server.
    """
    report = Report(seconds=entries.seconds, sent=len(entries.sent))
    report.kinds.update(sent.kind for sent in entries.sent.values())
    _check_conservation(entries, report)
    _check_errors(entries, report)
    if report.refused > refusals * report.sent:
        report.blame(Fault.REFUSED, f"{report.refused:,} of {report.sent:,} requests were refused or late")
    answered = _answered(entries, report)
    while chunk := list(islice(answered, _CHUNK)):
        _check_rows(chunk, entries, report)
    _check_ids(entries, report)
    if totals is not None:
        audit(entries, totals, report)
    return report


def _check_conservation(entries: Entries, report: Report) -> None:
    if len(entries.sent) != entries.requests:
        report.blame(Fault.LEDGER, f"{entries.requests:,} requests were planned, {len(entries.sent):,} sent")
    for line in entries.strange:
        report.blame(Fault.LEDGER, f"a line that does not fit: {line:.100}")
    for line in entries.strays:
        report.blame(Fault.DUPLICATED, f"bytes that nobody had asked for: {line}")
    for number, sent in entries.sent.items():
        report.ends.update(end[0] for end in sent.ends)
        if len(sent.ends) != 1:
            fault = Fault.DUPLICATED if sent.ends else Fault.LOST
            report.blame(fault, f"request {number} has {len(sent.ends)} ends: {sent.ends}"[:200])
        for event, *facts in sent.ends:
            if event == "LOST":
                report.blame(Fault.LOST, f"request {number} ({sent.kind}): {facts[0]}")


def _check_errors(entries: Entries, report: Report) -> None:
    for number, sent in entries.sent.items():
        for event, *facts in sent.ends:
            if event != "ERR":
                continue
            status, reason, retry = facts
            if (status in ("429", "503") and retry != "-") or status == "504":
                report.refused += 1
            elif status != str(sent.wants):
                report.blame(Fault.STATUS, f"request {number} ({sent.kind}): expected {sent.wants}, found {status} {reason}")
            elif reason == "-":
                report.blame(Fault.STATUS, f'request {number} ({sent.kind}): the body of its {status} has no "error"')


def _answered(entries: Entries, report: Report) -> Iterator[_Answered]:
    """Yield the answers that can be read; those that cannot be are violations."""
    for number, sent in entries.sent.items():
        for event, *facts in sent.ends:
            if event != "OK":
                continue
            version, _, _, rows = facts
            if not version.isdecimal() or rows == "-":
                report.blame(Fault.WRONG, f"request {number} ({sent.kind}): a 200 without rows, or of no version")
                continue
            values = np.frombuffer(bytes.fromhex(rows), "<f4").reshape(-1, tracer.LANES)
            yield _Answered(number, sent, version, values)


def _check_rows(chunk: list[_Answered], entries: Entries, report: Report) -> None:
    """Compare rows with the oracle; look into every one that differs."""
    for answer in chunk:
        if answer.sent.wants != 200:
            text = f"expected {answer.sent.wants}, found 200 with {len(answer.rows)} rows"
            report.blame(Fault.STATUS, f"request {answer.number} ({answer.sent.kind}): {text}")
            for row in range(len(answer.rows)):
                _blame_row(answer, row, entries, report, unless_own=True)
        elif len(answer.rows) != answer.sent.rows:
            text = f"expected {answer.sent.rows} rows, found {len(answer.rows)}"
            report.blame(Fault.WRONG, f"request {answer.number} ({answer.sent.kind}): {text}")
    due = [answer for answer in chunk if answer.sent.wants == 200]
    for version in {answer.version for answer in due}:
        answers = [answer for answer in due if answer.version == version]
        inputs = [lanes for answer in answers for lanes in _inputs(answer, entries.seed)]
        if not inputs:
            continue
        right = tracer.oracle(inputs, int(version))
        found = np.concatenate([answer.rows for answer in answers]).astype(np.float64)
        difference = np.where(np.isnan(right) & np.isnan(found), 0.0, np.abs(right - found)).max(axis=1)
        wrong = ~(difference <= tracer.TOLERANCE)  # a NaN is not small
        report.rows += len(found)
        report.worst = max(report.worst, difference[~wrong].max(initial=0.0))
        if wrong.any():
            places = [(answer, row) for answer in answers for row in range(len(answer.rows))]
            for place in np.flatnonzero(wrong):
                _blame_row(*places[place], entries, report)


def _inputs(answer: _Answered, seed: int) -> Iterator[tuple[float, ...]]:
    """Yield what was sent, for as many rows as came back."""
    for row in range(len(answer.rows)):
        lanes = tracer.lanes(seed, answer.number, row)
        is_nan = answer.sent.kind == Kind.NAN and row == bodies.nan_row(answer.sent.rows, answer.number)
        yield (*lanes[:-1], float("nan")) if is_nan else lanes


def _blame_row(answer: _Answered, row: int, entries: Entries, report: Report, *, unless_own: bool = False) -> None:
    """Say what is wrong with a row: whose it is, if it has a name."""
    values = answer.rows[row]
    name = tracer.name_of(values, int(answer.version), entries.seed)
    place = f"row {row} of request {answer.number} ({answer.sent.kind})"
    if name is None:
        report.blame(Fault.WRONG, f"{place} is nobody's: {values[:3].tolist()}…")
        return
    owner = entries.sent.get(name.request)
    if unless_own and name.request == answer.number:
        return
    # If the owner has the row too, it was given twice; if not, the two may have changed places.
    twice = owner is not None and name.request != answer.number and _has_row(owner, values)
    whose = f"row {name.row} of request {name.request} ({'never sent' if owner is None else owner.kind})"
    report.blame(Fault.DUPLICATED if twice else Fault.SWAPPED, f"{place} is {whose}{', who has it too' * twice}")


def _has_row(sent: Sent, row: tracer.Floats) -> bool:
    """Tell whether a request got this very row in its own answer."""
    return any(event == "OK" and row.tobytes().hex() in facts[-1] for event, *facts in sent.ends)


def _check_ids(entries: Entries, report: Report) -> None:
    """Every answer has its request's id; where there was none a server may invent one, but not use another client's."""
    given = {sent.id for sent in entries.sent.values()}
    for number, sent in entries.sent.items():
        for event, *facts in sent.ends:
            if event != "OK" or facts[2] == (sent.id or "-"):
                continue
            if sent.id is not None or facts[2] in given:
                report.blame(Fault.ID, f"request {number}: expected the id {sent.id}, found {facts[2]}")
