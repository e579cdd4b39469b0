"""The exercises on Forward-Forward take right answers however they are found, and name what students really get wrong."""

import pytest
import torch
from torch.nn import functional as F

from labkit.workshop.exercise import OPEN, check
from labkit.workshop.goodness_exercises import ensemble_of_class, wished

THETA = 3.0


@pytest.fixture
def said():
    draw = torch.Generator().manual_seed(0)
    return 4 * torch.rand(50, generator=draw), 5 * torch.rand(50, generator=draw)


def told(answer, tests) -> str:
    return check(lambda: answer, *tests).says


def test_the_loss_is_right_in_any_spelling(said):
    positive, negative = said
    tests = wished(*said, THETA)
    assert check(lambda: torch.cat([F.softplus(THETA - positive), F.softplus(negative - THETA)]).mean(), *tests).right
    assert check(
        lambda: (torch.log(1 + torch.exp(THETA - positive)) + torch.log(1 + torch.exp(negative - THETA))).mean() / 2,
        *tests,
    ).right
    logits = torch.cat([positive, negative]) - THETA
    truth = torch.cat([torch.ones(50), torch.zeros(50)])
    assert check(lambda: F.binary_cross_entropy_with_logits(logits, truth).item(), *tests).right


def test_wrong_losses_are_explained(said):
    positive, negative = said
    tests = wished(*said, THETA)
    first, second = F.softplus(THETA - positive), F.softplus(negative - THETA)
    assert "twice" in told(first.mean() + second.mean(), tests)
    assert "wrong way round" in told(
        (F.softplus(positive - THETA).mean() + F.softplus(THETA - negative).mean()) / 2, tests
    )
    assert "threshold does not appear" in told((F.softplus(-positive).mean() + F.softplus(negative).mean()) / 2, tests)
    for one in (first.mean(), second.mean(), first.mean() / 2):
        assert "only one of the two" in told(one, tests)
    assert "mean over them" in told(first.sum() + second.sum(), tests)
    assert "no end" in told(negative.mean() - positive.mean(), tests)
    assert "hinge" in told(F.relu(THETA - positive).mean() + F.relu(negative - THETA).mean(), tests)
    assert "one number" in told(first + second, tests)
    assert "list" in told([1.0], tests)
    assert "another number" in told(torch.tensor(77.0), tests)
    assert told(..., tests) == OPEN


@pytest.fixture
def layer():
    """12 units, 3 classes; unit 0 is loud on class 0, unit 11 whispers on class 2."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(90) % 3
    values = torch.relu(torch.randn(90, 12, generator=draw) - 1.2)
    values[labels == 0, 0] += 30
    values[labels == 2, 3:5] += 4
    values[labels == 2, 5] = 0.8
    values[labels == 2, 11] = 0.15
    return values, labels


def test_the_ensemble_is_right_in_any_spelling(layer):
    values, labels = layer
    tests = ensemble_of_class(values, labels, 2)
    mine = values[labels == 2].mean(0)
    assert check(lambda: mine > 0.1 * mine.max(), *tests).right
    assert check(lambda: mine / mine.max() > 0.1, *tests).right


def test_wrong_ensembles_are_explained(layer):
    values, labels = layer
    tests = ensemble_of_class(values, labels, 2)
    mine, every = values[labels == 2].mean(0), values.mean(0)
    right = mine > 0.1 * mine.max()
    assert "all classes" in told(every > 0.1 * every.max(), tests)
    assert "a tenth of what" in told(mine > 0.1, tests)
    loudest = max(values[labels == one].mean(0).max() for one in range(3))
    assert "strongest on this one" in told(mine > 0.1 * loudest, tests)
    assert "answers at all" in told(mine > 0, tests)
    assert "not in it" in told(~right, tests)
    assert "by your rule" in told(torch.zeros(12, dtype=torch.bool), tests)
    assert "True or False" in told(right.nonzero().flatten(), tests)
    assert "list" in told([0, 1], tests)
    assert "12 units" in told(right[:5], tests)
