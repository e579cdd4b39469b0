"""What a unit is worth is measured by taking it away, and planted importance is found."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.analysis.activity.ablation_effect import ablation_effect
from labkit.analysis.activity.strongest_inputs import strongest_inputs
from labkit.analysis.activity.unit_density import unit_density
from labkit.errors import LabError


def network():
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 3)).eval()


def batch():
    return torch.randn(60, 6), torch.arange(60) % 3


@torch.no_grad()
def test_the_effect_is_that_of_computing_on_with_the_mean():
    model, (x, y) = network(), batch()
    found = ablation_effect(model, (x, y), units={"1": [3, 8], "3": [0]})
    said = model[:2](x)
    whole = model(x)
    for unit in (3, 8):
        mean = said.clone()
        mean[:, unit] = said[:, unit].mean()
        output = model[2:](mean)
        effect = found.sel(layer="1", unit=unit)
        loss = float(F.cross_entropy(output, y) - F.cross_entropy(whole, y))
        assert float(effect.sel(quantity="loss")) == pytest.approx(loss, abs=1e-6)
        assert float(effect.sel(quantity="output")) == pytest.approx(
            float((output - whole).norm() / whole.norm()), rel=1e-4
        )
    assert np.isnan(found.sel(layer="1", unit=0)).all()
    assert np.isfinite(found.sel(layer="3", unit=0)).all()


@torch.no_grad()
def test_a_unit_without_outgoing_weights_has_no_effect_and_one_that_carries_all_has_the_largest():
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3)).eval()
    model[2].weight[:, 4] = 0
    model[2].weight[:, 7] *= 20
    found = ablation_effect(model, batch(), units={"1": range(10)}).sel(layer="1")
    assert found.sel(unit=4).values.tolist() == [0, 0]
    assert int(found.sel(quantity="output").values.argmax()) == 7


@torch.no_grad()
def test_a_unit_that_always_says_the_same_is_worth_nothing():
    model = network()
    model[0].weight[5], model[0].bias[5] = 0, 3.0
    found = ablation_effect(model, batch(), units={"1": [5]})
    assert found.values == pytest.approx(np.zeros((1, 1, 2)), abs=1e-6)


def test_the_strongest_units_are_tried_and_the_batch_is_sampled():
    model, (x, y) = network(), batch()
    found = ablation_effect(model, (x, y), strongest=3, inputs=20)
    size = model[:2](x[::3]).abs().mean(0)
    tried = found["unit"].values[np.isfinite(found.sel(layer="1", quantity="loss"))]
    assert sorted(tried) == sorted(size.topk(3).indices.tolist())
    assert found.attrs["sampled"] == "20 inputs"
    assert found.attrs["loss"] == pytest.approx(F.cross_entropy(model(x[::3]), y[::3]).item(), rel=1e-5)


def test_without_labels_only_the_outputs_are_compared_and_a_loss_may_be_given():
    model, (x, _) = network(), batch()
    found = ablation_effect(model, (x,), strongest=2)
    assert np.isnan(found.sel(quantity="loss")).all()
    assert (found.sel(quantity="output").fillna(1) > 0).all()
    found = ablation_effect(model, (x,), strongest=2, loss=lambda output, batch: output.square().sum())
    assert math.isclose(found.attrs["loss"], model(x).square().sum().item(), rel_tol=1e-5)


def test_unknown_layers_and_units_are_told():
    with pytest.raises(LabError, match="the layers are 1, 3"):
        ablation_effect(network(), batch(), units={"0": [1]})
    with pytest.raises(LabError, match="units 0 to 9, and 10"):
        ablation_effect(network(), batch(), units={"1": [10]})
    with pytest.raises(LabError, match="the layers are 1, 3"):
        unit_density(network(), batch(), layer="0")
    with pytest.raises(LabError, match="units 0 to 9, and -1"):
        unit_density(network(), batch(), unit=-1)


def test_the_strongest_inputs_of_a_model_point_into_the_batch():
    model, (x, y) = network(), batch()
    found = strongest_inputs(model, (x, y), ranks=2).sel(layer="3")
    assert found["input"].values[:4, 0].tolist() == model[:4](x).argmax(0).tolist()
    assert (found["place"].values[:4] == 0).all()


def test_the_place_of_a_padded_token_is_never_the_strongest():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))

        def forward(self, inputs_embeds, attention_mask):
            return self.block(inputs_embeds)

    x = torch.randn(3, 5, 1)
    x[:, 3:] *= 100
    x[0, 0] = 50  # what stands first must not stand in for a place that is empty
    mask = (torch.arange(5) < torch.tensor([[3], [2], [1]])).long()
    model = Words()
    model.block[0].weight.data.abs_()
    found = strongest_inputs(model, {"inputs_embeds": x, "attention_mask": mask}, ranks=3)
    said = (
        model.block[:2](x).detach().masked_fill(mask.unsqueeze(-1) == 0, -9).amax(1).sort(0, descending=True).values.T
    )
    assert found.values[0] == pytest.approx(said.numpy(), abs=1e-6)
    assert all(sorted(inputs) == [0, 1, 2] for inputs in found["input"].values[0])
    real = found["place"].values[0] < mask.sum(1).numpy()[found["input"].values[0]]
    assert real.all()
