import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models import spec as specs
from models.spec import Recipe, RecipeError, UnknownModel

RECIPE = Recipe(epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0.0)


def test_an_unknown_model_is_told_which_there_are() -> None:
    for name in ("nobody", "", "..", "tensors", "digits.data"):
        with pytest.raises(UnknownModel, match=f"model: expected one of .*digits.*, found '{name}'"):
            specs.find(name)


def test_a_folder_without_a_spec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.digits.SPEC", "not a spec")
    with pytest.raises(UnknownModel, match="models/digits: expected SPEC to be a ModelSpec, found str"):
        specs.find("digits")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -3),
        ("epochs", 10**20),
        ("batch_size", 0),
        ("batch_size", 10**20),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", -1e-9),
        ("weight_decay", float("nan")),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=f"^{field}: expected .*, found ") as caught:
        replace(RECIPE, **{field: value})  # type: ignore[arg-type]  # epochs are whole, but the table is of floats
    assert caught.value.field == field


def test_naming_the_models_imports_no_torch() -> None:
    code = "import sys; from models import spec; assert 'digits' in spec.available(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(specs.__file__).parents[1], timeout=60)
