"""The folding exercise says what is wrong with an answer, and takes the right one however it was worked out."""

import re

import pytest
import torch

from labkit.layers.feedforward.idle_feedforward import IdleFeedforward
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.fold_exercises import folded_matrix, near_misses, straight_path


@pytest.fixture
def layer() -> IdleFeedforward:
    torch.manual_seed(0)
    layer = IdleFeedforward(6, hidden=16, idle=0.75)
    with torch.no_grad():
        for norm in (layer.before, layer.between):
            norm.weight.normal_(1, 0.5)
            norm.bias.normal_()
        for _ in range(10):
            layer(3 * torch.randn(30, 6) + 1)
    return layer.eval()


def said(layer, answer) -> str:
    return check(lambda: answer, *folded_matrix(layer)).says


def test_what_the_layer_itself_folds_to_is_right(layer):
    straight = layer.folded().straight
    assert check(lambda: straight.weight, *folded_matrix(layer)).right
    assert torch.allclose(straight_path(layer).bias.float(), straight.bias, atol=1e-5)


def test_a_matrix_read_off_the_layer_is_right(layer):
    """Without labkit's own folding: unit vectors are sent through the layer with its active channels held still."""

    def path(x):
        hidden = layer.into(layer.before(x))
        hidden[:, : layer.active] = 0
        return x + layer.out(layer.between(hidden))

    with torch.no_grad():
        matrix = (path(torch.eye(layer.width)) - path(torch.zeros(1, layer.width))).T
    assert check(lambda: matrix, *folded_matrix(layer)).right
    assert check(lambda: matrix.double(), *folded_matrix(layer)).right


def test_each_near_miss_is_named(layer):
    for sentence, wrong in near_misses(layer).items():
        assert sentence in said(layer, wrong.weight)


def test_other_wrong_matrices_are_explained(layer):
    matrix = straight_path(layer).weight
    assert "transposed" in said(layer, matrix.T)
    assert re.search(r"differs by up to 1", said(layer, matrix + 1))


def test_what_is_no_such_tensor_is_explained(layer):
    matrix = straight_path(layer).weight
    assert "ndarray" in said(layer, matrix.numpy())
    assert "(6, 5)" in said(layer, matrix[:, :5])
    assert said(layer, ...) == OPEN
