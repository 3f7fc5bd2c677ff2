import numpy as np
import pytest
import torch
from torch import nn

from export.float64 import InFloat64, doubled


def test_a_cast_to_float32_becomes_one_to_float64() -> None:
    pixels = torch.tensor([1, 2, 3], dtype=torch.uint8)
    with torch.no_grad(), InFloat64():
        casts = [
            pixels.to(torch.float32),
            pixels.float(),
            pixels.type(torch.float32),
            torch.full_like(pixels, 2, dtype=torch.float32),
        ]
    assert {cast.dtype for cast in casts} == {torch.float64}


def test_float32_weights_are_used_in_float64_and_left_alone() -> None:
    linear = nn.Linear(50, 3)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32))
    with torch.no_grad(), InFloat64():
        found = linear(x)
    exact = x.double().numpy() @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()
    # Near 0 the terms cancel; float32 would be off by 1e-7.
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-14, atol=1e-14)
    assert linear.weight.dtype == torch.float32


def test_what_a_factory_makes_without_a_dtype_is_promoted() -> None:
    with torch.no_grad(), InFloat64():
        third = torch.ones(1) / 3
        constant = torch.tensor([0.1]) + torch.zeros(1)
    assert third.item() == 1 / 3
    assert constant.dtype == torch.float64


def test_other_types_keep_theirs() -> None:
    with torch.no_grad(), InFloat64():
        assert torch.arange(3).dtype == torch.int64
        assert torch.ones(2).to(torch.float16).dtype == torch.float16
        assert (torch.ones(2) > 0).dtype == torch.bool


LAYERS = [nn.GRU(8, 8), nn.LSTM(8, 8), nn.TransformerEncoderLayer(8, 2, 16), nn.Conv1d(5, 5, 3), nn.LayerNorm(8)]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers_of_every_kind_run_in_float64(layer: nn.Module) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32))
    layer.eval()
    with torch.no_grad():
        single = layer(x)
        with InFloat64():
            double = doubled(layer)(x.double())
    single, double = (out[0] if isinstance(out, tuple) else out for out in (single, double))
    assert double.dtype == torch.float64
    assert 0 < (single - double).abs().max() < 1e-5


def test_a_doubled_module_is_a_copy_that_keeps_half_precision_and_integers() -> None:
    module = nn.ModuleDict({"small": nn.Linear(2, 2).half(), "normal": nn.BatchNorm1d(2)})
    types = {name: tensor.dtype for name, tensor in doubled(module).state_dict().items()}
    assert types["small.weight"] == torch.float16
    assert types["normal.running_mean"] == types["normal.weight"] == torch.float64
    assert types["normal.num_batches_tracked"] == torch.int64
    assert module.state_dict()["normal.weight"].dtype == torch.float32
