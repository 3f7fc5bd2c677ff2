"""`make scoreboard`: every model trained, exported in every format, and scored beside a simpler method, for docs/models.md.

Each is trained with its own recipe and seed 0 on one thread. The page's table is rewritten; what stands around it is kept.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from export.exporter import FORMATS
from export.held_out import gathered
from export.publish import publish
from export.subject import of_checkpoint
from models import spec as specs
from models.repository import Repository
from models.spec import ModelSpec
from training import checkpoint
from training.scores import Score, number, scores
from training.train import train

PAGE = Path(__file__).parent / "docs" / "models.md"

#: Between these lines of the page is what is written here.
BEGIN, END = "<!-- written by make scoreboard -->", "<!-- until here -->"

#: The columns of the table. Sizes are those of the files, "–" where a format did not pass.
COLUMNS = ("model", "task", "n", "score", "baseline", "training", "parameters", *FORMATS)


@dataclass(frozen=True, slots=True)
class Row:
    """All that the table tells of one model. `n` are the samples for training, validation and test."""

    model: str
    task: str
    n: tuple[int, int, int]
    metric: str
    score: Score
    baseline: str
    baseline_score: Score
    seconds: float
    parameters: int
    sizes: Mapping[str, int]

    def line(self) -> str:
        """Return the row of a Markdown table."""
        cells = [
            f"[{self.model}](../models/{self.model}/README.md)",
            self.task,
            " / ".join(f"{samples:,}" for samples in self.n),
            f"{self.metric} {_words(self.score)}",
            f"{self.baseline}: {_words(self.baseline_score)}",
            f"{self.seconds:.0f} s",
            f"{self.parameters:,}",
            *(f"{self.sizes[format] / 1000:,.0f} kB" if format in self.sizes else "–" for format in FORMATS),
        ]
        return f"| {' | '.join(cells)} |"


def measured(spec: ModelSpec) -> Row:
    """Train, export and score one model; blocks for minutes."""
    datasets = spec.datasets(None)
    trained = train(spec, seed=0, device="cpu")
    with tempfile.TemporaryDirectory(prefix="sameway-") as folder:
        saved = checkpoint.save(trained.network, trained.origin, Path(folder) / spec.name / "trained")
        publication = publish(of_checkpoint(spec, saved), Repository(Path(folder) / "models"), list(FORMATS), dry_run=True)
    files = [result.artifact for result in publication.results if result.passed and result.artifact is not None]
    name, answers = importlib.import_module(f"models.{spec.name}.baseline").standard()
    targets = gathered(datasets.test, len(datasets.test))[1]  # type: ignore[arg-type]  # ours have a length
    metric = next(iter(trained.scores))
    return Row(
        model=spec.name,
        task=type(spec.task).__name__.lower(),
        n=tuple(len(split) for split in (datasets.train, datasets.validation, datasets.test)),  # type: ignore[arg-type]
        metric=metric,
        score=trained.scores[metric],
        baseline=name,
        baseline_score=scores(spec.task, answers, targets)[metric],
        seconds=trained.seconds,
        parameters=sum(weight.numel() for weight in trained.network.parameters()),
        sizes={file.format: file.size_bytes for file in files},
    )


def rewritten(page: str, lines: Sequence[str]) -> str:
    """Return the page with these lines in its table's place; raise ValueError for a page without one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"page: expected the lines {BEGIN} and {END}")
    return "\n".join([before + BEGIN, "", *lines, "", END + after])


def main(arguments: Sequence[str]) -> int:
    """Measure the models and rewrite the page."""
    parser = argparse.ArgumentParser(prog="python scoreboard.py", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=specs.available(), help="which; all unless given")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to be rewritten")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    kept = {line.split("](")[0]: line for line in given.page.read_text().splitlines() if line.startswith("| [")}
    for name in given.models:
        line = measured(specs.find(name)).line()
        sys.stdout.write(line + "\n")
        kept[line.split("](")[0]] = line
    head = [f"| {' | '.join(COLUMNS)} |", f"| - | - | - | - | - |{' -: |' * (len(COLUMNS) - 5)}"]
    given.page.write_text(rewritten(given.page.read_text(), [*head, *(kept[key] for key in sorted(kept))]))
    return 0


def _words(score: Score) -> str:
    value, low, high = (number(bound, score.unit) for bound in (score.value, score.low, score.high))
    if score.unit:
        value, low, high = (f"{bound:,.0f}" for bound in (score.value, score.low, score.high))
    unit = " %" if score.unit is None else f" {score.unit}".rstrip()
    return f"**{value}**{unit} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
