"""Recipes as TOML: a file says what differs from a model's own recipe, or everything, as a tuning study's winner does."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from models.spec import Recipe, RecipeError


def read(path: Path, base: Recipe) -> Recipe:
    """Return `base` with what the file says instead; raise RecipeError, which names the file and the field."""
    table = parsed(path)
    with naming(path):
        return changed(base, table)


def parsed(path: Path) -> dict[str, Any]:  # Any: whatever TOML can say
    """Return what a TOML file says; raise RecipeError, which names the file."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise RecipeError(str(path), expected="a TOML file", found=error.strerror or str(error)) from error
    except ValueError as error:  # also where the bytes are no UTF-8
        raise RecipeError(str(path), expected="TOML", found=str(error)) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what is wrong with a field name the file, too."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{path}: {error.field}", expected=error.expected, found=error.found) from None


def changed(base: Recipe, values: Mapping[str, object]) -> Recipe:
    """Return `base` with other values, of whatever types they are; raise RecipeError for a key that no recipe has."""
    known = [field.name for field in fields(Recipe)]
    for key in values:
        if key not in known:
            raise RecipeError("recipe", expected=f"keys among {', '.join(known)}", found=key)
    return replace(base, **values)  # type: ignore[arg-type]  # Recipe checks the types itself


def to_toml(recipe: Recipe) -> str:
    """Return a file that `read` makes the same recipe of, whatever the model's own is."""
    return "".join(f"{key} = {_literal(value)}\n" for key, value in asdict(recipe).items())


def _literal(value: object) -> str:
    """Return a value as TOML; a recipe's texts are names, which need no escapes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
