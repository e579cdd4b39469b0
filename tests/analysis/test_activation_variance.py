"""Variances are those of all numbers that enter and leave, and a start that keeps them is told from one that does not."""

import math

import pytest
import torch
from torch import nn

from labkit.analysis.dynamics.activation_variance import activation_variance
from labkit.layers.feedforward.group_rational import GroupRational
from labkit.layers.feedforward.spline_edges import SplineEdges
from labkit.recording.record import NothingRecorded
from labkit.views.show import show


def test_variances_are_those_of_all_numbers_before_and_after():
    model, x = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 2)), torch.randn(50, 7, 3) + 100
    found = activation_variance(model, (x,))
    assert list(found.layer.values) == ["0", "2"]
    hidden = model[0](x).detach()
    for layer, before, after in (("0", x, hidden), ("2", hidden.relu(), model(x).detach())):
        expected = [one.double().var(correction=0).item() for one in (before, after)]
        assert found.sel(layer=layer).values == pytest.approx(expected, rel=1e-6)


def test_normalisations_activations_and_embeddings_are_no_layers():
    model = nn.Sequential(nn.Embedding(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8), nn.BatchNorm1d(3))
    assert list(activation_variance(model, (torch.randint(5, (4, 3)),)).layer.values) == ["3"]


def test_layers_with_learnt_curves_and_convolutions_are_layers():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Flatten(), SplineEdges(4 * 36, 6), GroupRational(6, 6, groups=2), nn.Linear(6, 2)
    )
    found = activation_variance(model, (torch.randn(5, 1, 8, 8),))
    assert list(found.layer.values) == ["0", "2", "3", "4"]


class _Placed(nn.Module):
    """Adds a learnt place to its input, as transformers do, and holds a layer."""

    def __init__(self):
        super().__init__()
        self.place, self.dense = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 4)

    def forward(self, x):
        return self.dense(x + self.place)


def test_a_module_that_holds_layers_is_none_itself():
    found = activation_variance(nn.Sequential(_Placed()), (torch.randn(5, 3, 4),))
    assert list(found.layer.values) == ["0.dense"]


class _Twice(nn.Module):
    """Calls one layer on two halves of its input."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x):
        return self.dense(x[:3]).sum() + self.dense(10 * x[3:]).sum()


def test_all_calls_of_a_layer_count_together():
    model, x = _Twice(), torch.randn(10, 4)
    heard = torch.cat([x[:3], 10 * x[3:]])
    expected = [one.double().var(correction=0).item() for one in (heard, model.dense(heard).detach())]
    found = activation_variance(model, (x,))
    assert found.sel(layer="dense").values == pytest.approx(expected, rel=1e-6)


def test_half_precision_does_not_lose_the_sums():
    x = torch.randn(2000, 16).half() + 300
    found = activation_variance(nn.Sequential(nn.Linear(16, 4).half()), (x,))
    assert found.sel(side="before").item() == pytest.approx(x.double().var(correction=0).item(), rel=1e-9)


@pytest.mark.parametrize("start", ["identity", "swish", "gelu"])
def test_the_weights_of_group_rational_keep_the_variance_of_normal_inputs(start):
    torch.manual_seed(0)
    layer, x = GroupRational(256, 256, start=start), torch.randn(2000, 256)
    before, after = activation_variance(nn.Sequential(layer), (x,)).sel(layer="0").values
    assert after / before == pytest.approx(1, rel=0.05)


def test_weights_of_a_dense_layer_keep_a_third_of_what_the_curve_leaves():
    torch.manual_seed(0)
    layer, x = GroupRational(256, 256, start="identity"), torch.randn(2000, 256)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
    before, after = activation_variance(nn.Sequential(layer), (x,)).sel(layer="0").values
    assert after / before == pytest.approx(1 / 3, rel=0.05)


def test_it_has_a_picture():
    found = activation_variance(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), (torch.randn(9, 3),))
    assert show(found).data[0].type == "heatmap"


def test_a_model_without_weights_is_refused_in_words():
    for model in (nn.Sequential(nn.ReLU(), nn.LayerNorm(4)), nn.Sequential(nn.Linear(4, 4))[:0]):
        with pytest.raises(NothingRecorded, match="weights of two axes"):
            activation_variance(model, (torch.randn(5, 4),))


def test_a_layer_that_fails_leaves_no_hook_behind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        activation_variance(model, (torch.randn(5, 4),))
    assert model.training
    assert not any(part._forward_hooks for part in model.modules())
