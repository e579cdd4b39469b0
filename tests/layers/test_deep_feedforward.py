"""A feedforward layer of any depth: what its extremes are, and how it starts."""

import pytest
import torch
from torch.nn import functional as F

from labkit.layers.feedforward.deep_feedforward import DeepFeedforward
from labkit.workbench.budget import parameters


def test_no_layer_says_nothing():
    layer, x = DeepFeedforward(6, 6, layers=0), torch.randn(3, 4, 6, dtype=torch.float64)
    assert torch.equal(layer(x), torch.zeros(3, 4, 6, dtype=torch.float64))
    assert parameters(layer) == 0


def test_no_layer_may_have_another_width_to_say_nothing_in():
    assert DeepFeedforward(6, 4, layers=0)(torch.randn(3, 6)).shape == (3, 4)


def test_one_layer_is_a_dense_layer():
    layer, x = DeepFeedforward(6, 4, layers=1, units=99), torch.randn(5, 6)
    (linear,) = layer.linears
    assert torch.equal(layer(x), F.linear(x, linear.weight, linear.bias))
    assert parameters(layer) == 6 * 4 + 4


def test_two_layers_are_the_usual_feedforward_layer():
    layer, x = DeepFeedforward(6, 4, layers=2, units=8), torch.randn(5, 6)
    into, out = layer.linears
    assert torch.equal(layer(x), out(F.gelu(into(x))))


def test_without_activations_any_depth_is_one_matrix():
    layer = DeepFeedforward(6, 4, layers=3, units=8, activation=None).double()
    x, y = torch.randn(2, 5, 6, dtype=torch.float64)
    middle = layer((x + y) / 2)
    assert torch.allclose(middle, (layer(x) + layer(y)) / 2)
    bent = DeepFeedforward(6, 4, layers=3, units=8).double()
    assert not torch.allclose(bent((x + y) / 2), (bent(x) + bent(y)) / 2)


@pytest.mark.parametrize(("layers", "weights"), [(1, 1), (2, 8), (3, 24), (4, 40)])
def test_the_weights_are_as_many_as_the_text_says(layers, weights):
    width = 16
    layer = DeepFeedforward(width, width, layers=layers, units=4 * width)
    assert sum(linear.weight.numel() for linear in layer.linears) == weights * width**2


def test_hidden_layers_keep_the_variance_at_the_start():
    torch.manual_seed(0)
    layer, x = DeepFeedforward(64, 64, layers=4, units=512, activation="relu"), torch.randn(2000, 64)
    hidden = x
    for place, linear in enumerate(list(layer.linears)[:-1]):
        hidden = linear(F.relu(hidden) if place else hidden)
        assert 0.8 < hidden.pow(2).mean() < 1.25


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"layers": -1}, "not -1 of 256"),
        ({"layers": 2, "units": 0}, "not 2 of 0"),
        ({"activation": "tanh"}, "gelu, relu and None, not 'tanh'"),
    ],
)
def test_refuses_what_it_is_not(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        DeepFeedforward(6, 6, **wrong)
