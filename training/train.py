"""One training run: a ModelSpec and a Recipe become a trained network, its scores and its origin.

Same seed, same machine, same number of threads and processes: the same weights, bit for bit, interrupted or not.
"""

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lightning.pytorch as lightning
import torch
from lightning.pytorch.loggers import Logger
from torch import nn

from models.manifest import Origin
from models.spec import Datasets, ModelSpec, Recipe, RecipeError
from training import resume, unfinished
from training.best import BestWeights, Patience
from training.checked import CheckedSplit
from training.checkpoint import CheckpointError
from training.devices import DeviceError, Placement, environment, place, precision_on
from training.evaluate import evaluate, predict_with
from training.loaders import Loader, scoring_loader, size_of, training_loader
from training.logs import LogLearningRate
from training.origin import origin_of
from training.scores import Score
from training.surroundings import fit, quiet, reproducible, seed_all
from training.task import Task

#: The libraries whose versions decide bits, and what a resumed run's state means.
_LIBRARIES = ("torch", "lightning", "numpy")

#: Lightning's names of the precisions: the weights stay at 32 bits, computations are of fewer where that is safe.
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

#: Loggers hear of so many steps; more would only make the files longer.
_LOGGED_STEPS = 10


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run gives: the network with its best weights, on the CPU and in evaluation, and what is known of it.

    `scores` are those on the test split; `validation` those of `epoch`, the one whose weights these are. Of several
    processes the first alone scores the network, and all others have no scores.
    """

    network: nn.Module
    origin: Origin
    scores: Mapping[str, Score]
    validation: Mapping[str, float]
    epoch: int
    device: str
    seconds: float


def train(
    spec: ModelSpec,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    devices: int | None = None,
    strategy: str = "auto",
    data_dir: Path | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    loggers: Sequence[Logger] = (),
    keep: Path | None = None,
    resumed: bool = False,
    score: bool = True,
    tell: Callable[[str], None] = lambda message: None,
) -> Trained:
    """Train on the train split, keep the weights that do best on the validation split, and score them on the test split.

    The recipe is the spec's own unless given; callbacks and loggers are Lightning's. The run's state is kept in the folder
    `keep` after every epoch; `resumed` goes on from what is there. Without `score` the test split stays unseen: a search
    that chose by it would leave nothing to test with. `tell` hears what is not as it was asked for. torch's,
    numpy's and Python's random states and torch's settings are afterwards as they were. Several processes all run this; see
    devices.py.

    Raise DataError, DeviceError, RecipeError for a batch that cannot be shared out, CheckpointError for a state that is
    none of this run's, or TrainingError where the loss blows up or another process is gone.
    """
    placement = place(device, devices, strategy)
    recipe = _possible(recipe or spec.recipe, placement, tell)
    datasets = spec.datasets(data_dir)
    _check_shares(recipe, datasets, placement)
    run = _run(spec, recipe, seed=seed, data=datasets.checksum, placement=placement, data_dir=data_dir)
    started = time.perf_counter()
    best = BestWeights()
    with environment(placement), reproducible(seed, placement.accelerator), quiet():
        task = Task(spec, recipe)
        if resumed and keep is not None:
            _check_resumed(keep, run, task)
        if placement.seat.rank:
            seed_all(seed + placement.seat.rank)  # or its samples would be turned and shifted just as the first's are
        splits = [
            CheckedSplit(split, name, spec.task)
            for name, split in (("train", datasets.train), ("validation", datasets.validation), ("test", datasets.test))
        ]
        batches = training_loader(splits[0], recipe.batch_size, seed=seed, seat=placement.seat)
        own: list[lightning.Callback] = [best, Patience(recipe.patience, best)]
        own += [resume.RandomStates(batches.generator, placement.seat.rank)]
        own += [resume.KeepState(keep)] if keep is not None else []
        own += [LogLearningRate()] if loggers else []
        trainer = _trainer(recipe, placement, batches, [*own, *callbacks], loggers, resume.UnfinishedIO(run, tell))
        validation = scoring_loader(splits[1], placement.seat)
        fit(trainer, task, batches, validation, keep if resumed else None)
        network = task.network.cpu().eval()
        scores: dict[str, Score] = {}
        if score and placement.seat.rank == 0:
            scores = evaluate(predict_with(spec, network), scoring_loader(splits[2]), spec.task)
    values = {name: score.value for name, score in scores.items()}
    origin = origin_of(spec.name, recipe, seed=seed, data=datasets.checksum, scores=values)
    return Trained(network, origin, scores, best.scores, best.epoch, placement.words, time.perf_counter() - started)


def _trainer(
    recipe: Recipe,
    placement: Placement,
    batches: Loader,
    callbacks: Sequence[lightning.Callback],
    loggers: Sequence[Logger],
    disk: resume.UnfinishedIO,
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=placement.accelerator,
        devices=placement.devices,
        num_nodes=placement.machines,
        strategy=placement.strategy,
        use_distributed_sampler=False,  # our loaders share out the samples themselves
        precision=_PRECISIONS[recipe.precision],  # type: ignore[arg-type]  # one of the names that it knows
        gradient_clip_val=recipe.gradient_clip or None,
        max_epochs=recipe.epochs,
        # Where an operation has no deterministic kernel on a device, torch says so in a warning; training goes on.
        deterministic="warn",
        callbacks=list(callbacks),
        plugins=[disk],
        logger=list(loggers),
        log_every_n_steps=max(1, min(_LOGGED_STEPS, len(batches))),
        enable_checkpointing=False,  # Lightning's are pickles
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _possible(recipe: Recipe, placement: Placement, tell: Callable[[str], None]) -> Recipe:
    """Return a recipe with the precision that the device has, and say so if it is another."""
    precision = precision_on(recipe.precision, placement.accelerator)
    if precision != recipe.precision:
        tell(f"precision: {placement.accelerator} does not compute with {recipe.precision}; training with {precision}")
    return replace(recipe, precision=precision)


def _check_shares(recipe: Recipe, datasets: Datasets, placement: Placement) -> None:
    """Raise RecipeError or DeviceError unless every process gets an equal share of a batch, and samples to validate."""
    processes = placement.seat.processes
    if recipe.batch_size % processes:
        raise RecipeError("batch_size", expected=f"a multiple of the {processes} devices", found=recipe.batch_size)
    fewest = min(size_of(datasets.train), size_of(datasets.validation))
    if fewest < processes:
        raise DeviceError(f"devices: expected at most {fewest} in all, as many as samples, found {processes}")


def _run(
    spec: ModelSpec, recipe: Recipe, *, seed: int, data: str, placement: Placement, data_dir: Path | None
) -> unfinished.Run:
    return unfinished.Run(
        model=spec.name,
        recipe=asdict(recipe),
        seed=seed,
        data=data,
        device=placement.accelerator,
        processes=placement.seat.processes,
        libraries={name: importlib.metadata.version(name) for name in _LIBRARIES},
        threads=torch.get_num_threads(),
        data_dir=None if data_dir is None else str(data_dir.absolute()),
    )


def _check_resumed(path: Path, run: unfinished.Run, task: Task) -> None:
    """Raise CheckpointError unless the state in a folder is that of this run, and of this network."""
    was = unfinished.load(path)
    try:
        was.run.check(run)
        resume.check_fits(was.state, task)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
