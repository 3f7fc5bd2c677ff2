"""The space of recipes that a search looks in: which hyperparameters vary, between which bounds, on which scale."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeAlias

from models.spec import OPTIMIZERS, SCHEDULES, ModelSpec, Recipe, RecipeError
from models.tasks import Classification
from training import recipe_file

#: How far from a model's own value a learning rate and a weight decay are looked for, either way: a person's guess is seldom
#: more than a power of ten wrong.
_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; with `log`, as many below the geometric mean as above."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', by factors' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, which have no order."""

    values: tuple[str | int | float, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


Axis: TypeAlias = Range | Choice

#: Hyperparameters by name.
Space: TypeAlias = Mapping[str, Axis]

#: Fields that a search cannot vary: how long a trial takes, and on what, is the searcher's to say.
_FIXED = ("epochs", "patience", "precision")


def default(spec: ModelSpec) -> Space:
    """Return the space around a model's own recipe: what matters most often, few enough for some dozen trials."""
    recipe = spec.recipe
    decay = recipe.weight_decay or 0.01
    space: dict[str, Axis] = {
        "learning_rate": Range(recipe.learning_rate / _FACTOR, recipe.learning_rate * _FACTOR, log=True),
        "weight_decay": Range(decay / _FACTOR, decay * _FACTOR, log=True),
        "batch_size": Choice(tuple(sorted({max(1, recipe.batch_size // 2), recipe.batch_size, recipe.batch_size * 2}))),
        "momentum": Range(0.8, 0.98),
    }
    if isinstance(spec.task, Classification):
        space["label_smoothing"] = Range(0.0, 0.2)
    return space


def read(path: Path) -> Space:
    """Return the space that a TOML file describes; raise RecipeError, which names the file and the field.

    A table for each hyperparameter: `low` and `high`, and `log = true` for a scale of factors; or `choices`.
    """
    tables = recipe_file.parsed(path)
    with recipe_file.naming(path):
        return {name: _axis(name, table) for name, table in tables.items()}


def check(space: Space, recipe: Recipe) -> None:
    """Raise RecipeError unless every recipe of the space is one: its corners are, and no axis is unknown."""
    known = [field.name for field in fields(Recipe) if field.name not in _FIXED]
    if not space:
        raise RecipeError("space", expected=f"one or more of {', '.join(known)}", found="none")
    for name, axis in space.items():
        if name not in known:
            raise RecipeError("space", expected=f"hyperparameters among {', '.join(known)}", found=name)
        ends: Iterable[object] = axis.values if isinstance(axis, Choice) else (axis.low, axis.high)
        for value in ends:
            replace(recipe, **{name: value})  # type: ignore[arg-type]  # Recipe checks the types itself


def _axis(name: str, table: object) -> Axis:
    if not isinstance(table, dict):
        raise RecipeError(name, expected="a table of low and high, or of choices", found=table)
    keys = set(table)
    if keys == {"choices"}:
        values = table["choices"]
        if not isinstance(values, list) or not values or len({str(value) for value in values}) != len(values):
            raise RecipeError(f"{name}.choices", expected="a list of different values", found=values)
        return Choice(tuple(values))
    if not {"low", "high"} <= keys <= {"low", "high", "log"}:
        raise RecipeError(name, expected="low, high and perhaps log; or choices", found=", ".join(sorted(keys)) or "nothing")
    low, high, log = table["low"], table["high"], table.get("log", False)
    for key, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecipeError(f"{name}.{key}", expected="a number", found=value)
    if not isinstance(log, bool):
        raise RecipeError(f"{name}.log", expected="true or false", found=log)
    if name in ("batch_size", "optimizer", "schedule"):
        expected = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}.get(name, ("sizes",))
        raise RecipeError(name, expected=f"choices, of {', '.join(expected)}", found="low and high")
    if not low < high or (log and low <= 0):
        raise RecipeError(name, expected="low below high, and above 0 for log", found=f"{low} and {high}")
    return Range(float(low), float(high), log=log)
