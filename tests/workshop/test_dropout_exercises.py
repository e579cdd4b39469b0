"""The exercises on dropout: right answers pass, and each usual mistake is named."""

import pytest
import torch

from labkit.parts.max_norm import capped
from labkit.workshop.dropout_exercises import cap_held, geometric
from labkit.workshop.exercise import check

NETWORKS = (2 * torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(0))).softmax(-1)
PLAIN = NETWORKS.log().mean(0).exp()
MEAN = PLAIN / PLAIN.sum(-1, keepdim=True)
WEIGHT = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)) * torch.tensor(
    [[0.1], [0.2], [1.0], [2.0], [3.0]]
)


def says(answer, tests):
    found = check(lambda: answer, *tests)
    return found.right, found.says


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.5, "should be a tensor"),
        (NETWORKS, "shape (8, 5, 3)"),
        (NETWORKS.mean(0), "arithmetic mean"),
        (PLAIN, "no longer add up to 1"),
        (MEAN.log(), "logarithms"),
        (NETWORKS.prod(0) / NETWORKS.prod(0).sum(-1, keepdim=True), "without taking the root"),
        (MEAN * 2, "add up to 2.000"),
        (NETWORKS[0], "not the geometric mean"),
    ],
)
def test_wrong_means_are_explained(answer, words):
    right, sentence = says(answer, geometric(NETWORKS))
    assert not right
    assert words in sentence


def test_the_geometric_mean_is_right():
    assert says(MEAN.clone(), geometric(NETWORKS))[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (WEIGHT[0], "shape (5, 7)"),
        (WEIGHT / WEIGHT.norm(dim=1, keepdim=True) * 1.5, "stay as they are"),
        (capped(WEIGHT.T, 1.5).T, "columns"),
        (WEIGHT.clamp(-1.5, 1.5), "every single weight"),
        (WEIGHT, "the longest row"),
        (capped(WEIGHT, 1.5) * 0.9, "shorter than the cap has changed"),
        (capped(WEIGHT, 1.0), "scaled as a whole"),
    ],
)
def test_wrong_caps_are_explained(answer, words):
    right, sentence = says(answer, cap_held(WEIGHT, 1.5))
    assert not right
    assert words in sentence


def test_the_cap_is_right():
    assert says(capped(WEIGHT, 1.5), cap_held(WEIGHT, 1.5))[0]
