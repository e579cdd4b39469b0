"""The spectrum of a weight: right for every form, of what is evaluated, and silent where nothing is linear."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.analysis.geometry.weight_spectrum import effective_rank, stable_rank, weight_spectrum
from labkit.errors import LabError
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.layers.structured.block_dense_linear import BlockDenseLinear
from labkit.layers.structured.block_shuffle_linear import BlockShuffleLinear
from labkit.layers.structured.guided_linear import GuidedLinear
from labkit.layers.structured.low_rank_linear import LowRankLinear
from labkit.losses.weights.frobenius_decay import frobenius_decay
from labkit.parts.low_rank import nearest_low_rank, orthonormal_low_rank
from labkit.workbench.decayed import factor_decay

FORMS = {
    "dense": lambda: nn.Linear(6, 8),
    "low rank": lambda: LowRankLinear(6, 8, rank=3),
    "block dense": lambda: BlockDenseLinear(6, 8, blocks=2, rank=4),
    "block shuffle": lambda: BlockShuffleLinear(6, 8, blocks=2),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_spectrum_of_the_weight_written_out(form):
    torch.manual_seed(0)
    layer = FORMS[form]()
    nn.init.normal_(layer.bias)
    found = weight_spectrum(nn.Sequential(layer))
    with torch.no_grad():
        weight = layer(torch.eye(6)) - layer(torch.zeros(1, 6))
    assert np.allclose(found.sel(layer="0"), torch.linalg.svdvals(weight).numpy(), atol=1e-5)


def test_a_low_rank_weight_has_no_more_directions_than_its_rank():
    values = weight_spectrum(LowRankLinear(20, 30, rank=4)).isel(layer=0).values
    assert (values[:4] > 1e-2).all()
    assert (values[4:] < 1e-5).all()


def test_of_a_guided_layer_the_structure_counts():
    structure = LowRankLinear(6, 8, rank=2, bias=False)
    layer = GuidedLinear(6, 8, structure)
    nn.init.normal_(layer.guide)
    for training in (True, False):
        found = weight_spectrum(nn.Sequential(layer.train(training)))
        assert list(found.layer.values) == ["0"]
        assert np.allclose(found.values, weight_spectrum(nn.Sequential(structure)).values, atol=1e-5)
        assert layer.training is training


def test_a_weight_that_has_all_but_vanished_beside_its_bias_is_still_seen():
    layer = LowRankLinear(6, 8, rank=2)
    nn.init.ones_(layer.bias)
    with torch.no_grad():
        layer.up *= 1e-10
    assert (weight_spectrum(layer).values[0, :2] > 0).all()
    with torch.no_grad():
        layer.up *= 0
    assert weight_spectrum(layer).effective_rank == 0


def test_layers_that_are_not_linear_are_not_listed_but_what_is_inside_them_is():
    model = nn.Sequential(FastFeedforward(6, 6, depth=2, leaf_width=3), nn.Linear(6, 2))
    assert list(weight_spectrum(model).layer.values) == ["1"]


def test_names_are_chosen_by_a_pattern_and_none_is_refused():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert list(weight_spectrum(model, of="2").layer.values) == ["2"]
    with pytest.raises(LabError, match="no linear layer"):
        weight_spectrum(model, of="slot*")


def test_ranks_of_equal_and_of_one_sided_values():
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert stable_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([3.0, 0, 0])) == pytest.approx(1)
    assert effective_rank(np.zeros(3)) == stable_rank(np.zeros(3)) == 0


def test_orthonormal_factors_have_the_directions_of_the_weight_and_strength_one():
    torch.manual_seed(0)
    weight = torch.randn(9, 7)
    down, up = orthonormal_low_rank(weight, 3)
    assert torch.allclose(torch.linalg.svdvals(down @ up)[:3], torch.ones(3), atol=1e-5)
    near = torch.linalg.multi_dot(nearest_low_rank(weight, 3))
    assert torch.allclose(down @ down.T @ near @ up.T @ up, near, atol=1e-4)


def test_frobenius_decay_is_the_squared_norm_of_the_product():
    torch.manual_seed(0)
    low, block = LowRankLinear(6, 8, rank=3, bias=False), BlockDenseLinear(6, 8, blocks=2, rank=4, bias=False)
    with torch.no_grad():
        wanted = sum(layer(torch.eye(6)).square().sum() for layer in (low, block))
    assert torch.allclose(frobenius_decay(nn.Sequential(low, block, nn.Linear(8, 8))), wanted, rtol=1e-5)
    with pytest.raises(LabError, match="factored layers"):
        frobenius_decay(nn.Linear(3, 3))


def test_decay_of_balanced_factors_is_twice_the_sum_of_the_singular_values():
    torch.manual_seed(0)
    layer = LowRankLinear(9, 7, rank=3, bias=False, spectral=True)
    assert factor_decay(layer).item() == pytest.approx(
        2 * torch.linalg.svdvals(layer.down @ layer.up).sum().item(), rel=1e-5
    )
