"""The report people read: per format and output, what was found beside what was allowed."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.publish import FormatResult, Publication
from models.manifest import OutputParity, ParityReport

#: Width of a report that goes to a file or a pipe, where rich would assume 80 columns and wrap every number.
_PLAIN_WIDTH = 125


def show(publication: Publication, console: Console) -> None:
    """Print the table, a line for each fault, and what was published."""
    first = next((result.artifact.parity for result in publication.results if result.artifact), None)
    if first is not None:
        console.print(f"{publication.model}: saved files against the eager model, {_tried(first)}")
    console.print(_table(publication))
    for note in _notes(publication):
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
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


def _table(publication: Publication) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("format", "size", "output", "max abs", "max rel", "noise floor", "tolerance", "decisions", ""):
        table.add_column(heading, justify="left" if heading in ("format", "output", "") else "right", no_wrap=True)
    for result in publication.results:
        for cells in _rows(result):
            table.add_row(*cells)
    return table


def _rows(result: FormatResult) -> list[list[str | Text]]:
    if result.artifact is None:
        return [
            [result.format, *["–"] * 7, Text("not checked here" if result.exported else "not exported", style="bold red")]
        ]
    size = f"{result.artifact.size_bytes / 1000:,.0f} kB"
    outputs = result.artifact.parity.outputs
    heads = [(result.format, size), *[("", "")] * (len(outputs) - 1)]
    return [[*head, *_cells(output)] for head, output in zip(heads, outputs, strict=True)]


def _cells(output: OutputParity) -> list[str | Text]:
    verdict = Text("equal", style="green") if output.passed else Text("DIFFERS", style="bold red")
    if output.equal_decisions is not None:
        return [output.output, "–", "–", "–", "–", f"{output.equal_decisions:.2%}", verdict]
    errors = (output.max_absolute, output.max_relative, output.noise_floor, output.tolerance)
    return [output.output, *(f"{error:.1e}" for error in errors), "–", verdict]
