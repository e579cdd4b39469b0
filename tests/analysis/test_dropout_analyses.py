"""Averages over thinned networks, and how much hidden units say of each other."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.analysis.sparsity.coadaptation import coadaptation, coadaptation_of
from labkit.analysis.sparsity.thinned_average import thinned_average
from labkit.errors import LabError


def all_masks(units):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)))


def test_one_softmax_layer_the_mean_network_is_exactly_the_geometric_mean_of_all_masks():
    torch.manual_seed(0)
    x, layer = torch.randn(5, 8).double(), nn.Linear(8, 4).double()
    logs = torch.stack([F.linear(2 * mask * x, layer.weight, layer.bias).log_softmax(-1) for mask in all_masks(8)])
    torch.testing.assert_close(logs.mean(0).log_softmax(-1), layer(x).log_softmax(-1), atol=1e-12, rtol=0)
    arithmetic = logs.exp().mean(0).log()
    assert (arithmetic - layer(x).log_softmax(-1)).abs().max() > 1e-3


def test_other_rates_too_if_masks_are_weighted_by_how_likely_they_are():
    torch.manual_seed(0)
    x, layer, drop = torch.randn(5, 6).double(), nn.Linear(6, 4).double(), 0.2
    masks = all_masks(6).double()
    likely = (drop ** (1 - masks) * (1 - drop) ** masks).prod(1)
    logs = torch.stack([F.linear(mask * x / (1 - drop), layer.weight, layer.bias).log_softmax(-1) for mask in masks])
    geometric = (likely[:, None, None] * logs).sum(0).log_softmax(-1)
    torch.testing.assert_close(geometric, layer(x).log_softmax(-1), atol=1e-12, rtol=0)


def test_with_a_hidden_layer_behind_the_mask_it_is_not_exact():
    torch.manual_seed(0)
    x, into, out = torch.randn(5, 6), nn.Linear(6, 10), nn.Linear(10, 4)
    logs = torch.stack([out(into(2 * mask * x).relu()).log_softmax(-1) for mask in all_masks(6)])
    mean = out(into(x).relu()).log_softmax(-1)
    assert (logs.mean(0).log_softmax(-1) - mean).abs().max() > 1e-3


def test_the_paper_halves_weights_and_torch_doubles_units_and_it_is_the_same_network():
    """Twice the outgoing weights, no scaling in training, halved in use: torch's dropout, mask by mask."""
    torch.manual_seed(0)
    ours, x = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, 4)), torch.randn(5, 6)
    paper = nn.Linear(10, 4)
    with torch.no_grad():
        paper.weight.copy_(ours[3].weight * 2)
        paper.bias.copy_(ours[3].bias)
    hidden = ours[1](ours[0](x))
    torch.manual_seed(1)
    said = ours.train()(x)
    torch.manual_seed(1)
    mask = (ours[2](torch.ones_like(hidden)) > 0).float()
    torch.testing.assert_close(F.linear(mask * hidden, paper.weight, paper.bias), said)
    torch.testing.assert_close(F.linear(hidden, paper.weight / 2, paper.bias), ours.eval()(x))


def test_many_passes_come_near_the_exact_average():
    torch.manual_seed(0)
    x, labels = torch.randn(40, 6), torch.arange(40) % 4
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4))
    found = thinned_average(model, (x, labels), passes=(1, 2000)).sel(quantity="loss")
    exact = F.cross_entropy(model.eval()(x), labels).item()
    assert found.sel(way="mean network").values == pytest.approx([exact, exact], abs=1e-5)
    assert found.sel(way="geometric mean", passes=2000).item() == pytest.approx(exact, abs=0.02)
    assert found.sel(way="geometric mean", passes=1).item() == found.sel(way="arithmetic mean", passes=1).item()
    logs = torch.stack(
        [F.linear(2 * mask * x, model[1].weight, model[1].bias).log_softmax(-1) for mask in all_masks(6)]
    )
    arithmetic = F.nll_loss(logs.exp().mean(0).log(), labels).item()
    assert found.sel(way="arithmetic mean", passes=2000).item() == pytest.approx(arithmetic, abs=0.02)


def test_batch_norms_stay_in_evaluation_and_chance_goes_on():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = thinned_average(model, (torch.zeros(1, 6), torch.tensor([0])), passes=(4,))
    assert torch.equal(torch.get_rng_state(), before)
    assert int(model[1].num_batches_tracked) == 0
    assert first.notnull().all()


def test_refusals_of_an_average():
    batch = torch.randn(5, 6), torch.arange(5) % 4
    with pytest.raises(LabError, match="no dropout"):
        thinned_average(nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 4)), batch)
    with pytest.raises(LabError, match="one pass or more"):
        thinned_average(nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4)), batch, passes=(0,))
    with pytest.raises(LabError, match="has none"):
        thinned_average(nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4)), batch[:1])


def test_correlations_by_hand():
    a = torch.tensor([1.0, -1.0, 1.0, -1.0])
    b = torch.tensor([1.0, 1.0, -1.0, -1.0])
    table = torch.stack((a, -3 * a + 5, b, torch.full((4,), 2.0)), 1)
    found = coadaptation_of({"one": table}).values[0]
    assert found[:3] == pytest.approx([0.5, 0.5, 0.0], abs=1e-7)
    assert torch.tensor(found[3]).isnan()


def test_independent_units_have_the_floor_that_is_promised():
    torch.manual_seed(0)
    found = coadaptation_of({"one": torch.randn(500, 200)}).values
    assert found.mean() == pytest.approx((2 / (torch.pi * 500)) ** 0.5, rel=0.05)


def test_a_layer_of_one_unit_has_nobody_to_agree_with():
    model = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 3))
    assert coadaptation(model, (torch.randn(9, 4),)).isnull().all()
