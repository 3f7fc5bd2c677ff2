"""A search for a better recipe: an Optuna study whose trials are training runs, kept in a file so that it can go on.

A trial is judged on the validation split alone; no trial sees the test split, which would then be no test any more. The
model's own recipe is the first trial, so the winner is at least as good. Trials that fall behind are ended early.
"""

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from models.spec import ModelSpec, Recipe
from training import recipe_file
from training.space import Axis, Choice, Space
from training.task import Task, TrainingError
from training.train import train

#: Trials before the first is ended early: a median of fewer says little. Half of them are not random (TPE needs ten).
_BEFORE_PRUNING = 5

#: Trials drawn at random before the sampler learns from them: Optuna's own default.
_AT_RANDOM = 10


class TuneError(Exception):
    """A study cannot be opened, or is another one; the message names the file, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched: the base that trials differ from, and in what.

    `data` is the checksum of the data; all of it is written into the study, which no other search may go on with.
    """

    spec: ModelSpec
    recipe: Recipe
    space: Space
    seed: int
    data: str

    def facts(self) -> dict[str, str]:
        """Return what has to be the same for trials to be comparable."""
        return {
            "model": self.spec.name,
            "recipe": json.dumps(asdict(self.recipe), sort_keys=True),
            "space": json.dumps({name: str(axis) for name, axis in self.space.items()}, sort_keys=True),
            "seed": str(self.seed),
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """One trial that ended: how many there are now, its merit (None where it blew up), and the best so far."""

    done: int
    trial: FrozenTrial
    best: FrozenTrial | None


@contextlib.contextmanager
def opened(path: Path, search: Search) -> Iterator[optuna.Study]:
    """Give the study of a file, or a new one; raise TuneError for one of another search, in use, or no study at all.

    Trials that were running when their process was killed are counted as failed, and their recipes tried again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise TuneError(f"{path}: cannot be written: {error.strerror or error}") from error
    with lock, _quiet():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TuneError(f"{path}: another process is tuning with this study") from None
        try:
            yield _study(path, search)
        except (SQLAlchemyError, OptunaError) as error:
            if _interrupted(error):
                raise KeyboardInterrupt from error
            cause = error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            raise TuneError(f"{path}: expected a study of Optuna that can be written, found: {reason}") from error


def run(
    study: optuna.Study,
    search: Search,
    *,
    trials: int,
    device: str = "auto",
    data_dir: Path | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train until the study has so many trials; `tell` hears of each. Blocks for as long as that takes.

    Raise what `train` raises, save a loss that blows up: that is a bad recipe, and the search goes on.
    """

    def objective(trial: optuna.Trial) -> float:
        recipe = replace(search.recipe, **suggested(trial, search.space))
        watch = _Report(trial)
        try:
            train(search.spec, recipe, seed=search.seed, device=device, data_dir=data_dir, callbacks=[watch], score=False)
        except TrainingError as error:
            trial.set_user_attr("failed", str(error))
            raise optuna.TrialPruned from error
        return watch.best

    while len(ended(study)) < trials:
        try:
            study.optimize(objective, n_trials=1)
        except KeyboardInterrupt:
            study.enqueue_trial(study.get_trials(deepcopy=False)[-1].params)  # to be tried when the search goes on
            raise
        done = ended(study)
        tell(Progress(len(done), done[-1], winner(study)))


def suggested(trial: optuna.Trial, space: Space) -> dict[str, Any]:  # Any: values of a recipe, of any of its types
    """Return the hyperparameters of a trial."""
    values: dict[str, Any] = {}
    for name, axis in space.items():
        if isinstance(axis, Choice):
            values[name] = trial.suggest_categorical(name, axis.values)
        else:
            values[name] = trial.suggest_float(name, axis.low, axis.high, log=axis.log)
    return values


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count: those that ran to their end, or were ended early."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def winner(study: optuna.Study) -> FrozenTrial | None:
    """Return the best trial that ran to its end, or None; of equals the earlier one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (_value(trial), -trial.number), default=None)


def recipe_of(trial: FrozenTrial, recipe: Recipe) -> Recipe:
    """Return the recipe that a trial was trained with."""
    return recipe_file.changed(recipe, trial.params)


def importances(study: optuna.Study, seed: int) -> Mapping[str, float]:
    """Return each hyperparameter's share in how much the trials' merits differ, by fANOVA; empty where too few differ.

    Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 3 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed % 2**32)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


class _Report(lightning.Callback):
    """Tells the trial of every validation, and ends it where it has fallen behind."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.best = float("-inf")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the best merit so far: those are the weights that a run keeps. Raise TrialPruned to end the run."""
        if not isinstance(pl_module, Task):
            raise TypeError(f"module: expected a Task, found {type(pl_module).__name__}")
        self.best = max(self.best, pl_module.merit()[0])
        self._trial.report(self.best, trainer.current_epoch + 1)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _study(path: Path, search: Search) -> optuna.Study:
    # The file is opened here: as a part of a URL, a name with ? or { in it would be another one.
    storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
    known = {summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)}
    new = search.spec.name not in known
    if known and new:
        raise TuneError(f"{path}: expected a study of {search.spec.name}, found {', '.join(sorted(known))}")
    study = optuna.create_study(
        storage=storage,
        study_name=search.spec.name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING, n_warmup_steps=search.recipe.epochs // 4),
    )
    # A sampler begins anew with each process: with one seed it would draw the first trials over again.
    study.sampler = optuna.samplers.TPESampler(
        seed=(search.seed + len(study.get_trials(deepcopy=False))) % 2**32, n_startup_trials=_AT_RANDOM
    )
    if new:
        for name, value in search.facts().items():
            study.set_user_attr(name, value)
        own = {name: value for name, value in asdict(search.recipe).items() if name in search.space}
        # What is not in the space somebody gave is drawn from it; then the first trial is only like the model's own.
        study.enqueue_trial({name: value for name, value in own.items() if _holds(search.space[name], value)})
        return study
    for name, value in search.facts().items():
        if study.user_attrs.get(name) != value:
            found = study.user_attrs.get(name)
            raise TuneError(f"{path}: {name}: this study has {found}, this search {value}; name another file with --study")
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _interrupted(error: BaseException) -> bool:
    """Tell whether Ctrl-C is behind an error: in the middle of a transaction, the database is the one that complains."""
    part: BaseException | None = error
    while part is not None and not isinstance(part, KeyboardInterrupt):
        part = part.__cause__ or part.__context__
    return part is not None


def _holds(axis: Axis, value: Any) -> bool:  # Any: a value of a recipe
    return value in axis.values if isinstance(axis, Choice) else axis.low <= value <= axis.high


def _value(trial: FrozenTrial) -> float:
    return float("-inf") if trial.value is None else trial.value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log of every trial off the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
