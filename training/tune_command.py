"""Search for a better recipe: train a model with many, and write the one that validates best where `train` takes it.

Each trial is a training run, judged on the validation split; the first is the model's own recipe. Trials that fall behind
the median are ended early. All of it is kept in a study, a file of SQLite: after Ctrl-C or a crash the same command goes
on, and with more --trials it adds to them. The test split is not looked at.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from models.spec import DataError, RecipeError, UnknownModel, find
from training import recipe_file, space, tune
from training.cores import most_threads, sensible_threads
from training.devices import DEVICES, DeviceError
from training.objective import judged_by
from training.order import UsageError, checked_seed
from training.tune import Progress, Search, TuneError

#: More trials than anybody waits for.
_MOST_TRIALS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `sameway tune`."""
    parser.add_argument("model", metavar="MODEL", help="the name of a folder under models/")
    parser.add_argument("--trials", type=int, default=20, help="how many recipes the study is to have tried in the end")
    parser.add_argument("--epochs", type=int, help="passes over the training split, of each trial; else the model's own")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="what trials differ from, in place of the model's own")
    help_of_space = "what varies, as TOML: a table for each hyperparameter, with low, high and log, or with choices"
    parser.add_argument("--space", type=Path, metavar="FILE", help=help_of_space)
    parser.add_argument("--study", type=Path, metavar="FILE", help="where trials are kept (default: tuning/MODEL.db)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the winner is written (default: tuning/MODEL.toml)")
    parser.add_argument("--seed", type=int, default=0, help="of every trial, and of the search")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to train")
    parser.add_argument("--threads", type=int, help="cores on a CPU (default: all but one)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a downloaded data set, in place of the packaged one")


def run(arguments: argparse.Namespace) -> int:
    """Search as the arguments say and return the exit code: 1 for a failure, 2 for a wrong argument, 130 after Ctrl-C."""
    study_file = arguments.study or Path("tuning") / f"{arguments.model}.db"
    try:
        out = _out(study_file, arguments.out)
        search = _search(arguments)
        with tune.opened(study_file, search) as study:
            console = Console()
            console.print(_intention(search, len(tune.ended(study)), arguments.trials), highlight=False)
            trials = _Trials(search, arguments.trials, console)
            data_dir, device = arguments.data_dir, arguments.device
            tune.run(study, search, trials=arguments.trials, device=device, data_dir=data_dir, tell=trials.tell)
            shares, best = tune.importances(study, search.seed), tune.winner(study)
    except KeyboardInterrupt:
        return _fail(f"interrupted; the same command goes on with {study_file}", 130)
    except (UnknownModel, RecipeError, DeviceError, UsageError) as error:
        return _fail(error, 2)
    except (DataError, TuneError) as error:
        return _fail(error, 1)
    if best is None:
        return _fail(f"{study_file}: no trial ran to its end; a space of smaller learning rates may help", 1)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(_written(best, search, study_file))
    except OSError as error:
        return _fail(f"{out}: cannot be written: {error.strerror or error}", 1)
    console.print(_importances(shares))
    console.print(f"best: {trials.words(best)}", highlight=False)
    console.print(f"train it with: sameway train {search.spec.name} --recipe {out}", highlight=False)
    return 0


class _Trials:
    """A line for each trial that ends."""

    def __init__(self, search: Search, wanted: int, console: Console) -> None:
        self._score, self._sign = judged_by(search.spec.task)
        self._wanted = wanted
        self._console = console
        self._started = time.perf_counter()

    def tell(self, progress: Progress) -> None:
        """Print how a trial ended."""
        seconds, self._started = time.perf_counter() - self._started, time.perf_counter()
        leads = progress.best is not None and progress.best.number == progress.trial.number
        line = (
            f"trial {progress.done:>{len(str(self._wanted))}}/{self._wanted}  {self.words(progress.trial)}  {seconds:.1f} s"
        )
        self._console.print(f"{line}  best so far" if leads else line, highlight=False, soft_wrap=True)

    def words(self, trial: FrozenTrial) -> str:
        """Return what a trial came to, and its hyperparameters."""
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        if "failed" in trial.user_attrs:
            return f"{trial.user_attrs['failed']}  ({chosen})"
        value = trial.value if trial.value is not None else max(trial.intermediate_values.values(), default=float("nan"))
        early = f" ended after epoch {trial.last_step}," if trial.state == TrialState.PRUNED else ""
        return f"validation {self._score} {self._sign * value:.4f}{early}  ({chosen})"


def _out(study_file: Path, given: Path | None) -> Path:
    """Return where the winner is written; raise UsageError for the study itself, or a study without a name."""
    if not study_file.name:
        raise UsageError(f"study: expected a file, found {str(study_file)!r}")
    out = study_file.with_suffix(".toml") if given is None else given
    if out.absolute() == study_file.absolute():
        raise UsageError(f"out: expected another file than the study, found {str(out)!r} for both")
    return out


def _search(arguments: argparse.Namespace) -> Search:
    """Return what is wanted; raise UnknownModel, RecipeError, UsageError or DataError."""
    spec = find(arguments.model)
    if not 1 <= arguments.trials <= _MOST_TRIALS:
        raise UsageError(f"trials: expected 1 to {_MOST_TRIALS:,}, found {arguments.trials}")
    threads = sensible_threads() if arguments.threads is None else arguments.threads
    if not 1 <= threads <= most_threads():
        raise UsageError(f"threads: expected 1 to {most_threads()}, found {threads}")
    torch.set_num_threads(threads)
    recipe = spec.recipe if arguments.recipe is None else recipe_file.read(arguments.recipe, spec.recipe)
    if arguments.epochs is not None:
        recipe = replace(recipe, epochs=arguments.epochs)
    chosen = space.default(replace(spec, recipe=recipe)) if arguments.space is None else space.read(arguments.space)
    space.check(chosen, recipe)
    return Search(spec, recipe, chosen, checked_seed(arguments.seed), spec.datasets(arguments.data_dir).checksum)


def _intention(search: Search, done: int, wanted: int) -> Table:
    """Return what varies, and how far the study is."""
    table = Table(title=f"{search.spec.name}: {done} of {wanted} trials are there", title_justify="left", box=None)
    for column in ("hyperparameter", "own", "searched"):
        table.add_column(column)
    for name, axis in search.space.items():
        table.add_row(name, _short(getattr(search.recipe, name)), str(axis))
    return table


def _importances(shares: Mapping[str, float]) -> Table | str:
    """Return which hyperparameters made the difference."""
    if not shares:
        return "importances: too few trials ran to their end, or all came to the same"
    table = Table(title="what made the difference (fANOVA)", title_justify="left", box=None)
    table.add_column("hyperparameter")
    table.add_column("share", justify="right")
    for name, share in shares.items():
        table.add_row(name, f"{share:.0%}")
    return table


def _written(best: FrozenTrial, search: Search, study_file: Path) -> str:
    """Return the winner as a recipe file, with where it is from."""
    score, sign = judged_by(search.spec.task)
    found = f"validation {score} {sign * (best.value or 0.0):.6g}, seed {search.seed}"
    told = f"# {search.spec.name}: trial {best.number + 1} of {study_file.name}, {found}\n"
    return told + recipe_file.to_toml(tune.recipe_of(best, search.recipe))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _fail(reason: object, exit_code: int) -> int:
    sys.stderr.write(f"sameway tune: {reason}\n")
    return exit_code
