import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.diamonds import data, model
from models.diamonds.table import GRADES


@pytest.fixture(scope="module")
def train() -> data.Diamonds:
    return data.splits()[0]


@pytest.fixture(scope="module")
def stones() -> tuple[Tensor, Tensor]:
    found = data.samples(16)
    return torch.from_numpy(found["numbers"]), torch.from_numpy(found["grades"])


@pytest.fixture(scope="module")
def network() -> model.Network:
    torch.manual_seed(0)
    return model.Network().eval().requires_grad_(False)


def test_its_constants_are_those_of_the_training_split(train: data.Diamonds) -> None:
    numbers = train.numbers.double()
    weight = numbers[:, 0].log()
    measured = (numbers[:, 3:] > 0).all(1)
    ratios = (numbers[:, 3:] / numbers[:, :1] ** (1 / 3))[measured]
    assert ratios.median(0).values.tolist() == pytest.approx(model.TYPICAL, abs=0.001)
    for column, (low, high) in zip([weight, *numbers[:, 1:3].T, *ratios.T], model.LIMITS, strict=True):
        assert float((column < low).double().mean()) < 0.0015
        assert float((column > high).double().mean()) < 0.0015
    exponent, intercept = np.polyfit(weight.numpy(), train.prices.double().log().numpy(), 1)
    assert exponent == pytest.approx(model.EXPONENT, abs=0.005)
    assert math.exp(intercept) == pytest.approx(model.BASE, rel=0.005)


def test_features_are_what_they_are_said_to_be(network: model.Network) -> None:
    small, large = torch.tensor([[1.0, 61.5, 55.0, 6.4, 6.5, 4.0], [8.0, 61.5, 55.0, 12.8, 13.0, 8.0]]).chunk(2)
    expected = [0.0, 61.5, 55.0, 6.4, 6.5, 4.0]
    assert network.features(small)[0].tolist() == pytest.approx(expected, abs=1e-6)
    # Twice as long is eight times as heavy; 8 carat is beyond the limits, where the weight counts as 5.
    assert float(network.features(large)[0, 0]) == pytest.approx(1.61)
    half = torch.tensor([[0.125, 61.5, 55.0, 3.2, 3.25, 2.0]]) * torch.tensor(
        [2.0, 1, 1, 2 ** (1 / 3), 2 ** (1 / 3), 2 ** (1 / 3)]
    )
    assert network.features(half)[0, 3:].tolist() == pytest.approx(expected[3:], abs=1e-5)


def test_a_length_that_was_not_measured_is_the_typical_one(network: model.Network) -> None:
    numbers = torch.tensor([[1.0, 61.5, 55.0, 0.0, 0.0, 0.0], [1.0, 61.5, 55.0, *model.TYPICAL]])
    grades = torch.zeros(2, 3, dtype=torch.int64)
    missing, typical = network(numbers, grades)
    assert float(missing) == float(typical)


def test_an_encoding_is_piecewise_linear_with_its_knees_at_the_edges(network: model.Network) -> None:
    low, high = model.LIMITS[2]
    bins, width = len(network.edges), (high - low) / len(network.edges)

    def at(place: float) -> Tensor:
        """Return the table's eight values where only `table` differs from its least."""
        features = network.limits[0].double().repeat(1, 1)
        features[0, 2] = low + place * width
        return network.double().encode(features).reshape(6, -1)[2]

    try:
        assert at(0).abs().max() < 1e-9
        for place in (0.0, 1.0, 31.0, bins - 1.0):
            steps = network.bins[2, int(place)].double()
            assert torch.allclose(at(place + 0.25) - at(place), 0.25 * steps, atol=1e-6)
            assert torch.allclose(at(place + 1) - at(place), steps, atol=1e-6)
    finally:
        network.float()


def test_every_grade_has_values_of_its_own(network: model.Network) -> None:
    """No two grades share a row of the one table, and an index is read in its own kind."""
    numbers = torch.tensor([[1.0, 61.5, 55.0, 6.4, 6.5, 4.0]])
    rows = [
        [grade if column == place else 0 for column in range(3)]
        for place, names in enumerate(GRADES.values())
        for grade in range(1, len(names))
    ]
    found = network(numbers.repeat(len(rows) + 1, 1), torch.tensor([[0, 0, 0], *rows]))
    assert len(set(found.tolist())) == 18


def test_without_a_correction_the_price_is_a_power_of_the_weight() -> None:
    network = model.Network().eval()
    nn.init.zeros_(network.weights)
    grades = torch.zeros(3, 3, dtype=torch.int64)
    numbers = torch.tensor([[1.0, 61.5, 55, 6, 6, 4], [2.0, 61.5, 55, 6, 6, 4], [0.5, 61.5, 55, 6, 6, 4]])
    assert network(numbers, grades).tolist() == pytest.approx([4670, 4670 * 2**1.68, 4670 * 0.5**1.68], rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(6))
def test_a_number_that_is_none_has_no_price_and_spoils_no_other(
    stones: tuple[Tensor, Tensor], network: model.Network, column: int, value: float
) -> None:
    numbers, grades = stones
    spoilt = numbers.clone()
    spoilt[3, column] = value
    found, before = network(spoilt, grades), network(numbers, grades)
    assert found[3].isnan()
    others = [row for row in range(16) if row != 3]
    assert torch.equal(found[others], before[others])
    assert before.isfinite().all()


@pytest.mark.parametrize("column", range(3))
def test_a_grade_that_is_not_in_the_table_has_no_price(
    stones: tuple[Tensor, Tensor], network: model.Network, column: int
) -> None:
    numbers, grades = stones
    size = len(list(GRADES.values())[column])
    for value in (-1, size, 2**63 - 1, -(2**63)):
        spoilt = grades.clone()
        spoilt[3, column] = value
        found = network(numbers, spoilt)
        assert found[3].isnan()
        assert int(found.isnan().sum()) == 1
    for value in (0, size - 1):
        spoilt = grades.clone()
        spoilt[:, column] = value
        assert network(numbers, spoilt).isfinite().all()


@pytest.mark.parametrize("carat", [0.0, -0.0, 1e-40, -1.0, -3e38, 0.009])
def test_what_weighs_less_than_any_stone_is_priced_as_the_lightest(network: model.Network, carat: float) -> None:
    measures = [61.5, 55.0, 0.0, 0.0, 0.0]
    found = network(torch.tensor([[carat, *measures], [0.1998, *measures]]), torch.zeros(2, 3, dtype=torch.int64))
    assert float(found[0]) == float(found[1]) > 0


def test_numbers_beyond_the_limits_count_as_the_limits(network: model.Network) -> None:
    most = torch.tensor([[3e38, 3e38, 3e38, 3e38, 3e38, 3e38], [5.003, 69.0, 67.0, 900, 900, 900]])
    far, limit = network(most, torch.zeros(2, 3, dtype=torch.int64))
    assert float(far) == pytest.approx(float(limit), rel=1e-4)
    assert torch.isfinite(far)


def test_every_number_type_gives_the_same(stones: tuple[Tensor, Tensor], network: model.Network) -> None:
    numbers, grades = stones
    expected = network(numbers, grades)
    assert torch.equal(network(numbers.double(), grades.int()), expected)
    assert torch.equal(network(numbers, grades.float()), expected)
    torch.manual_seed(0)
    double = model.Network().eval().double()(numbers, grades)
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), expected, rtol=1e-4)


def test_training_gives_gradients_to_every_parameter(stones: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = model.Network().train()
    network(*stones).sum().backward()
    assert all(one.grad is not None and bool(one.grad.abs().sum() > 0) for one in network.parameters())


def test_what_is_served_ends_at_the_most(stones: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = model.Network()
    serving = model.ServingModule(network)
    numbers, grades = stones
    assert torch.equal(serving(numbers, grades)[0], network(numbers, grades))
    heavy, none = numbers.clone(), numbers.clone()
    heavy[:, 0], none[:, 0] = 5, math.nan
    with torch.no_grad():
        network.weights.add_(1)  # the hidden values are 0 or more: every correction grows
    assert bool((network(heavy, grades) > model.MOST).all())
    assert serving(heavy, grades)[0].tolist() == [model.MOST] * 16
    assert serving(none, grades)[0].isnan().all()


def test_another_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"network: expected models\.diamonds's, found Identity"):
        model.ServingModule(nn.Identity())
