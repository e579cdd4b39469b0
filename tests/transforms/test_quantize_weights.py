"""Quantised weights: how many levels, whose step, which modules, how many bytes, and what tails cost."""

import pytest
import torch
from torch import nn

from labkit.layers.routing.mixture_of_experts import MixtureOfExperts
from labkit.parts.experts import Experts
from labkit.parts.rounded_weights import rounded
from labkit.transforms.shrink.quantize_weights import kurtosis, quantize_weights, weight_bytes


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_channel_has_at_most_so_many_levels_and_errs_by_half_a_step(bits):
    weight = torch.randn(5, 400, generator=torch.Generator().manual_seed(0))
    coarse, most = rounded(weight, bits), 2 ** (bits - 1) - 1
    step = weight.abs().amax(1, keepdim=True) / most
    assert all(len(row.unique()) <= 2 * most + 1 for row in coarse)
    assert ((coarse - weight).abs() <= step / 2 + 1e-6).all()
    assert torch.allclose(coarse.abs().amax(1), weight.abs().amax(1))


def test_each_output_channel_has_its_own_step_in_linear_layers_and_in_banks():
    bank = Experts(2, 3, 4, 5)
    with torch.no_grad():
        bank.in_weight[1, 2] *= 1000  # one hidden neuron of one expert
        bank.out_weight[0, :, 4] *= 1000  # one output of one expert
    coarse, inputs = quantize_weights(bank, bits=8), {"in_weight": -1, "out_weight": -2}
    for name, axis in inputs.items():
        weight = getattr(bank, name)
        change = (getattr(coarse, name) - weight).abs()
        assert (change <= weight.abs().amax(axis, keepdim=True) / 127 / 2 + 1e-6).all(), name


def test_only_chosen_modules_change():
    model = nn.ModuleDict({"slot": MixtureOfExperts(6, 6, experts=3, expert_width=4), "look": nn.Linear(6, 6)})
    coarse = quantize_weights(model, bits=2, where=r"experts")
    assert torch.equal(coarse["look"].weight, model["look"].weight)
    assert torch.equal(coarse["slot"].gate.noise.weight, model["slot"].gate.noise.weight)
    assert not torch.equal(coarse["slot"].experts.in_weight, model["slot"].experts.in_weight)
    assert torch.equal(coarse["slot"].experts.in_bias, model["slot"].experts.in_bias)


def test_a_channel_of_zeros_stays():
    assert torch.equal(rounded(torch.zeros(2, 3), 2), torch.zeros(2, 3))


def test_bytes_are_those_of_the_bits_and_of_the_steps():
    linear = nn.Linear(10, 4)
    assert weight_bytes(linear) == 2 * 44
    assert weight_bytes(linear, bits=2) == (16 * 4 + 2 * 40 + 16 * 4) / 8


def test_tails_are_three_for_normal_weights_and_more_with_an_outlier():
    weight = torch.randn(50, 2000, generator=torch.Generator().manual_seed(0))
    assert kurtosis(weight).item() == pytest.approx(3, abs=0.05)
    weight[:, 0] = 20
    assert kurtosis(weight).item() > 10


@pytest.mark.parametrize(("bits", "where", "says"), [(1, "", "2 bits or more"), (4, "nowhere", "'nowhere'")])
def test_what_cannot_be_done_is_refused_with_a_sentence(bits, where, says):
    with pytest.raises(ValueError, match=says):
        quantize_weights(nn.Linear(3, 3), bits=bits, where=where)
