"""The space of recipes: what a model's own looks like, and what a file may say."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from models import spec as specs
from models.spec import RecipeError
from models.tasks import Regression
from tests.training import toys
from training import space
from training.space import Choice, Range


@pytest.mark.parametrize("name", specs.available())
def test_every_model_has_a_space_around_its_own_recipe(name: str) -> None:
    spec = specs.find(name)
    found = space.default(spec)
    space.check(found, spec.recipe)
    for field, axis in found.items():
        own = getattr(spec.recipe, field)
        assert own in axis.values if isinstance(axis, Choice) else axis.low <= own <= axis.high


def test_labels_are_smoothed_where_there_are_labels() -> None:
    toy = toys.spec()
    assert "label_smoothing" in space.default(toy)
    assert "label_smoothing" not in space.default(replace(toy, task=Regression("scores", "m")))


def test_a_file_says_what_varies(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        "[learning_rate]\nlow = 1e-4\nhigh = 1\nlog = true\n[batch_size]\nchoices = [8, 16]\n"
        '[optimizer]\nchoices = ["sgd", "adamw"]\n'
    )
    found = space.read(path)
    space.check(found, toys.RECIPE)
    assert found == {
        "learning_rate": Range(1e-4, 1.0, log=True),
        "batch_size": Choice((8, 16)),
        "optimizer": Choice(("sgd", "adamw")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space: expected one or more of batch_size, "),
        ("x = 1", "x: expected a table of low and high, or of choices, found 1"),
        ("[epochs]\nlow = 1\nhigh = 3", "space: expected hyperparameters among "),
        ("[learning_rat]\nlow = 1\nhigh = 3", "space: expected hyperparameters among "),
        ("[momentum]\nlow = 0.5", "momentum: expected low, high and perhaps log; or choices, found 'low'"),
        ("[momentum]\nlow = 0.9\nhigh = 0.5", "momentum: expected low below high"),
        ("[momentum]\nlow = 0.5\nhigh = 1.5", "momentum: expected 0 or more and below 1, found 1.5"),
        ("[momentum]\nlow = nan\nhigh = 1.5", "momentum: expected low below high"),
        ('[momentum]\nlow = "0.5"\nhigh = 0.9', "momentum.low: expected a number, found '0.5'"),
        ("[momentum]\nlow = 0.5\nhigh = 0.9\nlog = 1", "momentum.log: expected true or false, found 1"),
        ("[weight_decay]\nlow = 0\nhigh = 0.9\nlog = true", "weight_decay: expected low below high, and above 0 for log"),
        ("[batch_size]\nlow = 8\nhigh = 16", "batch_size: expected choices, of sizes"),
        ("[batch_size]\nchoices = [0]", "batch_size: expected 1 to 1000000, found 0"),
        ("[batch_size]\nchoices = []", "batch_size.choices: expected a list of different values"),
        ("[batch_size]\nchoices = [8, 8]", "batch_size.choices: expected a list of different values"),
        ('[schedule]\nchoices = ["warp"]', "schedule: expected one of one_cycle, cosine, constant, found 'warp'"),
        ("[schedule\n", "expected TOML"),
    ],
)
def test_what_is_no_space_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(message)):
        space.check(space.read(path), toys.RECIPE)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: expected a TOML file, found 'No such file"):
        space.read(tmp_path / "absent.toml")
