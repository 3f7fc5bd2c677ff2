"""The evaluation as a terminal shows it: the scores as training tells them, then tables."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.findings import Evaluation, Findings
from training.scores import Score, number, words

#: Width of a report that goes to a file or a pipe, where rich would assume 80 columns and cut names off.
_PLAIN_WIDTH = 125

#: A matrix of more classes does not fit a terminal; its commonest mistakes do.
_MOST_CLASSES = 15

#: Of the worst mistakes and of the commonest, so many are told here; the page has more.
_MOST = 5

#: Of a text or a record, what one line has room for.
_MOST_CHARACTERS = 90


def terminal() -> Console:
    """Return a console on standard output that does not squeeze tables where nobody's terminal sets a width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def show(found: Evaluation, console: Console) -> None:
    """Print everything."""
    for one in found.findings:
        _show(found, one, console)
    for note in found.notes:
        console.print(Text(_plain(f"note: {note}"), style="yellow"), soft_wrap=True)
    if found.verdict is not None:
        console.print(Text(_plain(found.verdict), style="bold"), soft_wrap=True)


def _show(found: Evaluation, one: Findings, console: Console) -> None:
    console.print(Text(_plain(one.subject.title), style="bold"), soft_wrap=True)
    for name, score in one.scores.items():
        console.print(f"{found.model}: test {words(name, score)}", markup=False, soft_wrap=True)
    if one.calibration is not None:
        by_chance = f"{100 * one.calibration.by_chance:.2f} %"
        console.print(f"as sure as it should be, 95 of 100 such models have an ece below {by_chance}", soft_wrap=True)
    if one.confusion is not None:
        console.print(_classes(found, one))
        if len(found.labels) <= _MOST_CLASSES:
            console.print(_matrix(found, one))
        for truth, decision, count in one.confusion.commonest(_MOST):
            line = f"{count:,} × {found.labels[truth]} taken for {found.labels[decision]}"
            console.print(Text(_plain(line)), soft_wrap=True)
    if one.calibration is not None:
        console.print(_reliability(one))
    for kind in one.mistakes:
        console.print(f"{kind.kind}: {kind.count:,}" + ("; the worst:" if kind.worst else ""), markup=False)
        for mistake in kind.worst[:_MOST]:
            line = f"  sample {mistake.sample}: {mistake.truth}, answered {mistake.answer}; {mistake.remark}"
            text = one.shown[mistake.sample].text
            console.print(Text(_plain(line)), soft_wrap=True)
            if text:
                shortened = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
                console.print(Text(f"    {_plain(shortened)}", style="dim"), soft_wrap=True)
    console.print()


def _classes(found: Evaluation, one: Findings) -> Table:
    table = _table("class", "precision", "recall", "F1", "support")
    for label, scores in zip(found.labels, one.confusion.classes if one.confusion else (), strict=True):
        cells = map(_cell, (scores.precision, scores.recall, scores.f1))
        table.add_row(Text(_plain(label)), *cells, f"{scores.support:,}")
    return table


def _matrix(found: Evaluation, one: Findings) -> Table:
    table = _table("truth ↓ decision →", *map(_plain, found.labels))
    for label, row in zip(found.labels, one.confusion.matrix if one.confusion else (), strict=True):
        table.add_row(Text(_plain(label)), *(f"{count:,}" if count else "·" for count in row))
    return table


def _reliability(one: Findings) -> Table:
    table = _table("confidence", "decisions", "mean", "accuracy")
    for each in one.calibration.bins if one.calibration else ():
        if each.confidence is not None:
            span = f"{100 * each.low:.0f} to {100 * each.high:.0f} %"
            table.add_row(span, f"{each.samples:,}", f"{100 * each.confidence:.2f} %", _cell(each.accuracy))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(Text(first), no_wrap=True)
    for heading in others:
        table.add_column(Text(heading), justify="right", no_wrap=True, overflow="ellipsis")
    return table


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    value, low, high = (number(bound, score.unit) for bound in (score.value, score.low, score.high))
    return f"{value} % ({low} to {high})"


def _plain(text: str) -> str:
    """Return a text on one line, without what would steer a terminal: samples are strangers' words."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
