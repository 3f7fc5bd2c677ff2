from dataclasses import replace
from pathlib import Path

import pytest

from models.spec import RecipeError
from tests.training.toys import RECIPE
from training import recipe_file


def test_a_recipe_written_and_read_is_the_same(tmp_path: Path) -> None:
    other = replace(RECIPE, optimizer="sgd", schedule="cosine", learning_rate=0.1 + 0.2, patience=3, precision="bf16")
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_file.to_toml(other))
    assert recipe_file.read(path, RECIPE) == other


def test_a_file_may_say_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("epochs = 7\n")
    assert recipe_file.read(path, RECIPE) == replace(RECIPE, epochs=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 7", r"recipe.toml: recipe: expected keys among epochs, .*, found 'epoch'"),
        ("epochs = 0", r"recipe.toml: epochs: expected 1 to 1000000, found 0"),
        ("epochs = 1.5", r"recipe.toml: epochs: expected"),
        ("epochs = true", r"recipe.toml: epochs: expected"),
        ('learning_rate = "fast"', r"recipe.toml: learning_rate: expected a finite number above 0, found 'fast'"),
        ("learning_rate = nan", r"recipe.toml: learning_rate"),
        ('optimizer = "magic"', r"recipe.toml: optimizer: expected one of adamw"),
        ("momentum = 1.0", r"recipe.toml: momentum: expected 0 or more and below 1"),
        ("epochs = ", r"recipe.toml: expected TOML"),
    ],
)
def test_what_is_no_recipe_names_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        recipe_file.read(path, RECIPE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: expected a TOML file, found 'No such file"):
        recipe_file.read(tmp_path / "none.toml", RECIPE)
