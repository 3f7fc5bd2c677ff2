"""The report people read: per format and output, what was found beside what was allowed."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.attempt import FormatResult
from export.publish import Publication
from export.tolerance import ALLOWED_FLOORS, LEAST_ULP
from models.manifest import OutputParity, ParityReport

#: Width of a report that goes to a file or a pipe, where rich would assume 80 columns and wrap every number.
_PLAIN_WIDTH = 125


def show(publication: Publication, console: Console) -> None:
    """Print the table, a line for each fault, and what was published."""
    first = next((result.artifact.parity for result in publication.results if result.artifact), None)
    if first is not None:
        console.print(f"{publication.model}: saved files against the eager model, {_tried(first)}")
    console.print(_table(publication))
    if first is not None and (rule := _rule(first.outputs)) is not None:
        console.print(Text(f"allowed: {rule}", style="dim"), soft_wrap=True)
    for line in _tasks(publication):
        console.print(Text(line), soft_wrap=True)
    for line in _edges(publication):
        console.print(Text(line, style="dim"), soft_wrap=True)
    for note in _notes(publication):
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    for fault in publication.faults:
        console.print(Text(fault, style="red"), soft_wrap=True)
    for result in publication.results:
        for fault in result.faults:
            console.print(Text(f"{result.format}: {fault}", style="red"), soft_wrap=True)
    version = publication.version
    if version is None and publication.passed:
        console.print(Text(f"{publication.model}: all agree; a dry run, nothing published", style="bold green"))
        return
    if version is None:
        console.print(Text(f"{publication.model}: nothing published", style="bold red"))
        return
    name = f"{version.manifest.model}/{version.manifest.version}"
    console.print(Text.assemble("published ", (name, "bold green"), f" sha256:{version.digest}"), soft_wrap=True)


def _tried(report: ParityReport) -> str:
    """Return what the files were run on."""
    if report.batch_sizes == (0,):
        return f"{report.samples} real samples as single requests"
    return f"{report.samples} real samples in batches of {', '.join(map(str, report.batch_sizes))}"


def _rule(outputs: Sequence[OutputParity]) -> str | None:
    """Return how the tolerances came about; None where nothing is compared by one."""
    compared = [output for output in outputs if output.equal_decisions is None and not output.random]
    if not compared:
        return None
    stated = next((output for output in compared if output.atol is not None and output.rtol is not None), None)
    if stated is not None:
        return f"as stated, {stated.atol:g} + {stated.rtol:g} × the expected value"
    return (
        f"{ALLOWED_FLOORS:g} × the largest of what the eager model differs from itself: in float64, by a row alone, "
        f"{LEAST_ULP:g} units in the last place"
    )


def _edges(publication: Publication) -> list[str]:
    """Return per input what was tried at the edges of its datatype: the same for all formats, but for faults and notes."""
    reports = [result.artifact.parity for result in publication.results if result.artifact and result.artifact.parity.edges]
    kinds: dict[tuple[str, str], list[str]] = {}
    for tried in zip(*(report.edges for report in reports), strict=True):
        edge = tried[0]
        verdict = "answered alike" if all(one.passed for one in tried) else "ANSWERED OTHERWISE"
        if not edge.judged:
            verdict = edge.remark or "not judged, as overflow or rounding decides"
        kinds.setdefault((edge.input, verdict), []).append(edge.edge)
    return [f"edges of {name}: {', '.join(edges)}: {verdict}" for (name, verdict), edges in kinds.items()]


def _tasks(publication: Publication) -> list[str]:
    """Return what formats that are not meant to be equal cost at the model's task."""
    lines = []
    for result in publication.results:
        task = None if result.artifact is None else result.artifact.parity.task
        if task is not None:
            lines.append(
                f"{result.format}: {task.metric} {task.artifact:.4f}, eager {task.eager:.4f} on {task.samples:,} samples: "
                f"drop {task.drop:.2%} (95 % interval {task.low:.2%} to {task.high:.2%}), allowed {task.most:.2%}: "
                f"{'good enough' if task.passed else 'TOO LARGE'}"
            )
    return lines


def _notes(publication: Publication) -> list[str]:
    """Return what a reader should know besides: once where it is true of all formats, else under the format's name."""
    artifacts = [result.artifact for result in publication.results if result.artifact is not None]
    reports = [artifact.parity for artifact in artifacts]
    shared = [note for note in (reports[0].notes if reports else ()) if all(note in report.notes for report in reports)]
    own = [f"{report.format}: {note}" for report in reports for note in report.notes if note not in shared]
    return [*publication.notes, *shared, *own]


def terminal() -> Console:
    """Return a console on standard output that does not squeeze the table where nobody's terminal sets a width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


#: Columns, and what stands in them. The floor's three parts come before what is allowed, ten times the largest of them.
_HEADINGS = (
    "format", "size", "output", "max abs", "max rel", "ulp", "1−cos", "float64", "alone", "4 ulp", "allowed", "",
)  # fmt: skip
_WORDS = ("format", "output", "")


def _table(publication: Publication) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in _HEADINGS:
        # A long name goes on in the next line, sooner than a number is cut off.
        overflow = "fold" if heading == "output" else "ellipsis"
        justify = "left" if heading in _WORDS else "right"
        table.add_column(heading, justify=justify, no_wrap=heading != "output", overflow=overflow)  # type: ignore[arg-type]
    for result in publication.results:
        for cells in _rows(result):
            table.add_row(*cells)
    return table


def _rows(result: FormatResult) -> list[list[str | Text]]:
    if result.artifact is None:
        verdict = Text("not checked here" if result.exported else "not exported", style="bold red")
        return [[result.format, *["–"] * (len(_HEADINGS) - 2), verdict]]
    size = f"{result.artifact.size_bytes / 1000:,.0f} kB"
    parity = result.artifact.parity
    outputs = []
    for output in parity.outputs:
        inside = [one for one in parity.before_last if one.output.startswith(f"{output.output} before ")]
        outputs += [output, *(replace(one, output=one.output.removeprefix(output.output)) for one in inside)]
    heads = [(result.format, size), *[("", "")] * (len(outputs) - 1)]
    same = "equal" if parity.task is None else "alike"
    return [[*head, *_cells(output, same)] for head, output in zip(heads, outputs, strict=True)]


def _cells(output: OutputParity, same: str) -> list[str | Text]:
    verdict = Text(_verdict(output, same), style="green" if output.passed else "bold red")
    if output.random or output.equal_decisions is not None:
        return [output.output, *["–"] * 8, verdict]
    angle = None if output.min_cosine is None else 1 - output.min_cosine
    ulp = "–" if output.max_ulp is None else f"{output.max_ulp:,.0f}" if output.max_ulp < 1e5 else _number(output.max_ulp)
    floors = (output.floor_float64, output.floor_alone, output.floor_ulp, output.tolerance)
    return [
        output.output, _number(output.max_absolute), _number(output.max_relative), ulp, _number(angle),
        *map(_number, floors), verdict,
    ]  # fmt: skip


def _verdict(output: OutputParity, same: str) -> str:
    """Return that it is the same, or how else it came out."""
    word = ("random" if output.random else same) if output.passed else "DIFFERS"
    return word if output.equal_decisions is None or output.random else f"{output.equal_decisions:.2%} {word}"


def _number(value: float | None) -> str:
    """Return a number in two digits, and its exponent without zeros in front: a table of them has to fit a terminal."""
    if value is None:
        return "–"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
