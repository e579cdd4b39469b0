"""Goodness: what counts as high, what a label in the pixels is, and what a network of it predicts."""

import math

import pytest
import torch

from labkit.parts.goodness import (
    every_label,
    goodness,
    goodness_loss,
    labelled,
    length_normalised,
    unlabelled,
    wrong_labels,
)
from labkit.parts.goodness_network import GoodnessNetwork, Judge


def test_the_three_kinds_of_goodness_are_one_quantity_in_three_scales():
    said = torch.randn(5, 7)
    total = goodness(said)
    assert torch.allclose(goodness(said, "mean of squares") * 7, total)
    assert torch.allclose(goodness(said, "length") ** 2, total)
    with pytest.raises(ValueError, match="not 'loudness'"):
        goodness(said, "loudness")


def test_a_silent_layer_has_a_finite_gradient():
    for kind in ("sum of squares", "mean of squares", "length"):
        said = torch.zeros(2, 3, requires_grad=True)
        goodness(length_normalised(said), kind).sum().backward()
        assert torch.isfinite(said.grad).all()


def test_the_loss_is_log_2_at_the_threshold_and_falls_with_the_gap():
    at = torch.full((4,), 3.0)
    assert goodness_loss(at, at, 3.0).item() == pytest.approx(math.log(2))
    assert goodness_loss(at + 2, at - 2, 3.0) < goodness_loss(at + 1, at - 1, 3.0) < math.log(2)
    assert goodness_loss(at - 2, at + 2, 3.0) > math.log(2)
    assert goodness_loss(at + 5, at[:1] - 5, 3.0) < 0.01


def test_a_label_takes_the_place_of_the_first_numbers_only():
    x, label = torch.rand(6, 12), torch.arange(6) % 4
    marked = labelled(x, label, 4, bright=2.0)
    assert torch.equal(marked[:, 4:], x[:, 4:])
    assert torch.equal(marked[:, :4].argmax(-1), label)
    assert torch.equal(marked[:, :4].sum(-1), torch.full((6,), 2.0))
    assert torch.allclose(unlabelled(x, 4, 2.0)[:, :4], torch.full((6, 4), 0.5))
    tried = every_label(x, 4, 2.0)
    assert tried.shape == (6, 4, 12)
    assert torch.equal(tried[torch.arange(6), label], marked)
    with pytest.raises(ValueError, match=r"4 classes does not fit into inputs of shape \(6, 3\)"):
        labelled(torch.rand(6, 3), label, 4)


def test_wrong_labels_are_wrong_and_all_others_come():
    label = torch.randint(5, (4000,))
    wrong = wrong_labels(label, 5)
    assert not (wrong == label).any()
    counts = torch.bincount((wrong - label) % 5, minlength=5)[1:]
    assert (counts > 850).all()


def test_the_next_layer_cannot_see_how_loud_the_one_below_was():
    network = GoodnessNetwork(8, 3, (6, 6))
    said = network.layers[0](torch.randn(4, 8))
    assert torch.allclose(network.layers[1](said), network.layers[1](100 * said), atol=1e-5)


def test_scores_are_what_one_label_after_the_other_gives():
    torch.manual_seed(0)
    x = torch.randn(5, 9)
    for network in (GoodnessNetwork(9, 4, (6, 5), kind="length", first=1), Judge(9, 4, (6, 5))):
        slow = torch.stack([network.judged(labelled(x, torch.full((5,), one), 4)) for one in range(4)], -1)
        assert torch.allclose(network(x), slow, atol=1e-6)
    network = GoodnessNetwork(9, 4, (6, 5))
    first = network.layers[0](labelled(x, torch.full((5,), 2), 4))
    by_hand = first.square().sum(-1) + network.layers[1](first).square().sum(-1)
    assert torch.allclose(network(x)[:, 2], by_hand, atol=1e-5)


def test_a_network_without_layers_that_count_is_refused():
    with pytest.raises(ValueError, match="of 2 layers none is counted from layer 2 on"):
        GoodnessNetwork(8, 3, (4, 4), first=2)
