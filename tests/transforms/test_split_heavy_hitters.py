"""Splitting a layer into heavy units and a rest: nothing compressed is nothing changed, and budgets are kept."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.recording.dense_blocks import dense_blocks
from labkit.transforms.shrink import quantize_weights
from labkit.transforms.split.split_heavy_hitters import HeavyAndRest, split_heavy_hitters
from labkit.workbench.pretrained.load import pretrained
from labkit.workbench.sparsity.split_layers import heavy_for

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def network(activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 40), activation(), nn.Linear(40, 3)).eval()


def layer_of(model: nn.Module) -> HeavyAndRest:
    return next(one for one in model.modules() if isinstance(one, HeavyAndRest))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 40), nn.Linear(8, 40), nn.Linear(40, 8)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


@pytest.mark.parametrize("make", [network, lambda: network(nn.ReLU), lambda: nn.Sequential(nn.Linear(8, 8), Gated())])
@pytest.mark.parametrize("settings", [{"heavy": 1.0}, {"heavy": 0.25, "rest": "quantised", "size": 1.0}])
def test_nothing_compressed_is_the_same_answer(make, settings):
    model = make().eval()
    with torch.no_grad():
        assert torch.allclose(split_heavy_hitters(model, (X,), **settings)(X), model(X), atol=1e-3)
        heavy = split_heavy_hitters(model, (X,), heavy=1.0)
        assert torch.allclose(heavy(X), model(X), atol=1e-6)


def test_full_rank_is_the_same_answer():
    model = network()
    layer = layer_of(split_heavy_hitters(model, (X,), heavy=0.25, size=1.0))
    (block,) = dense_blocks(model, (X,)).values()
    exact = HeavyAndRest(block.units, torch.arange(40), 10)
    exact.rest.compress("low rank", 8)
    with torch.no_grad():
        assert torch.allclose(exact(X), model(X), atol=1e-5)
    assert layer.bits <= 16 * 40 * 11


def test_the_heaviest_units_are_kept_exactly_and_the_others_are_left_out():
    model = network(nn.ReLU)
    hidden, out = model[0](X).relu(), model[2].weight
    best = (hidden.mean(0) * out.norm(dim=0)).argsort(descending=True)[:10]
    wanted = hidden[:, best] @ out[:, best].T + model[2].bias
    with torch.no_grad():
        assert torch.allclose(split_heavy_hitters(model, (X,), heavy=0.25, rest="pruned")(X), wanted, atol=1e-5)


@pytest.mark.parametrize("size", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("heavy", [0.0, 0.1])
@pytest.mark.parametrize("rest", ["low rank", "quantised"])
def test_what_is_left_fits_the_budget_and_uses_most_of_it(size, heavy, rest):
    layer = layer_of(split_heavy_hitters(network(), (X,), heavy=heavy, rest=rest, size=size))
    whole = 16 * 40 * (8 + 3)
    assert layer.bits <= size * whole + 1e-6
    # the next rank, or one more bit, would not fit
    step = 16 * (2 * 40 + 11) if rest == "low rank" else 40 * 11
    assert layer.bits + step > size * whole


def test_with_no_heavy_unit_all_are_rounded_as_the_transform_that_rounds_does():
    model = network()
    split = split_heavy_hitters(model, (X,), heavy=0.0, rest="quantised", size=4 / 16)
    with torch.no_grad():
        assert torch.allclose(split(X), quantize_weights.quantize_weights(model, bits=4)(X), atol=1e-5)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("units", [40, 256])
def test_heavy_units_are_as_many_as_let_the_others_have_one_bit_less(bits, units):
    heavy = round(heavy_for(bits, units) * units)
    assert 16 * heavy + (bits - 1) * (units - heavy) <= bits * units
    assert 16 * (heavy + 1) + (bits - 1) * (units - heavy - 1) > bits * units


@pytest.mark.parametrize("name", ["digits CNN", "t-cell receptors", "Alice"])
def test_models_of_all_kinds_can_be_split(name):
    known = pretrained(name)
    split = split_heavy_hitters(known.model, known.batch, heavy=0.1, size=0.5)
    assert sum(isinstance(one, HeavyAndRest) for one in split.modules()) == len(dense_blocks(known.model, known.batch))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="keep fewer heavy units"):
        split_heavy_hitters(network(), (X,), heavy=0.5, size=0.4)
    with pytest.raises(ValueError, match="some units must be heavy"):
        split_heavy_hitters(network(), (X,), heavy=0.0, rest="pruned")
    with pytest.raises(ValueError, match="one of low rank, quantised, pruned"):
        split_heavy_hitters(network(), (X,), rest="magic")
    with pytest.raises(ValueError, match="units are scored by one of"):
        split_heavy_hitters(network(), (X,), score="magic")
