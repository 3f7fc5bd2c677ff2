import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.spec import SCHEDULES, Recipe
from training.optimize import optimizer_of, schedule_of

RECIPE = Recipe(epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0.3)
STEPS = 40


def course(recipe: Recipe) -> tuple[list[float], list[float]]:
    """Return the learning rate and the momentum of every step."""
    optimizer = optimizer_of(recipe, nn.Linear(2, 2))
    schedule = schedule_of(recipe, optimizer, STEPS)
    rates, momenta = [], []
    for _ in range(STEPS):
        group = optimizer.param_groups[0]
        rates.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        optimizer.step()
        schedule.step()
    return rates, momenta


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)]
)
def test_every_optimizer_has_the_recipes_numbers_and_spares_biases(name: str, kind: type) -> None:
    optimizer = optimizer_of(replace(RECIPE, optimizer=name, momentum=0.7), nn.Linear(2, 2))
    assert type(optimizer) is kind
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert [[one.ndim for one in group["params"]] for group in optimizer.param_groups] == [[2], [1]]
    for group in optimizer.param_groups:
        assert group["lr"] == 0.1
        assert (group["betas"][0] if name == "adamw" else group["momentum"]) == 0.7


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_a_constant_rate_stays_and_a_cosine_falls_to_nothing(optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, momentum=0.6)
    rates, momenta = course(replace(recipe, schedule="constant"))
    assert set(rates) == {0.1}
    assert set(momenta) == {0.6}
    rates, momenta = course(replace(recipe, schedule="cosine"))
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * step / STEPS)) / 2 for step in range(STEPS)])
    assert set(momenta) == {0.6}


@pytest.mark.parametrize(("momentum", "low", "high"), [(0.9, 0.85, 0.95), (0.0, 0.0, 0.0), (0.99, 0.983, 0.997)])
def test_one_cycle_moves_the_momentum_against_the_rate(momentum: float, low: float, high: float) -> None:
    rates, momenta = course(replace(RECIPE, momentum=momentum))
    assert rates.index(max(rates)) == pytest.approx(STEPS / 4, abs=1)
    assert momenta.index(min(momenta)) == (rates.index(max(rates)) if low < high else 0)
    assert (min(momenta), max(momenta)) == pytest.approx((low, high), abs=1e-3)


def test_the_usual_momentum_moves_as_torchs_own_does() -> None:
    own = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(own, 0.1, STEPS, pct_start=0.25)
    expected = []
    for _ in range(STEPS):
        expected.append((own.param_groups[0]["lr"], own.param_groups[0]["betas"][0]))
        own.step()
        schedule.step()
    assert list(zip(*course(RECIPE), strict=True)) == expected  # to the last bit


@pytest.mark.parametrize("steps", range(1, 10))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_of_few_steps_has_a_course_too(schedule: str, steps: int) -> None:
    recipe = replace(RECIPE, schedule=schedule)
    optimizer = optimizer_of(recipe, nn.Linear(2, 2))
    course_of_it = schedule_of(recipe, optimizer, steps)
    for step in range(steps):
        assert 0 <= optimizer.param_groups[0]["lr"] <= recipe.learning_rate
        optimizer.step()
        if step < steps - 1:
            course_of_it.step()
