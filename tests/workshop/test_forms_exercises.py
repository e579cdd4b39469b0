"""The exercise on factored weights: the right answer passes, and each likely wrong one is told what is wrong with it."""

import pytest

from labkit.workshop.exercise import OPEN, check
from labkit.workshop.forms_exercises import attempt, cheap_size, factors

DOWN, UP = factors()


def said(function):
    return check(lambda: attempt(function, DOWN, UP), *cheap_size(DOWN, UP))


@pytest.mark.parametrize(
    "function",
    [
        lambda down, up: ((down.mT @ down) * (up @ up.mT)).sum(),
        lambda down, up: ((down.mT @ down) @ (up @ up.mT)).trace().item(),
        lambda down, up: (down.mT @ down @ up @ up.mT).trace(),
    ],
)
def test_the_right_number_is_right(function):
    assert said(function).right


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda down, up: (down @ up).square().sum(), "keep to matrices of 4 x 4"),
        (lambda down, up: ((down.mT @ down) * (up @ up.mT)).sum().sqrt(), "its square"),
        (lambda down, up: down.square().sum() + up.square().sum(), "ordinary weight decay"),
        (lambda down, up: down.square().sum() * up.square().sum(), "directions of the factors"),
        (lambda down, up: ((down.mT @ down) @ (up @ up.mT)).sum(), "diagonal alone"),
        (lambda down, up: down.mT @ down, "one number"),
        (lambda down, up: [1.0], "one number"),
        (lambda down, up: 1.0, "the answer says 1"),
        (lambda down, up: down @ down, "RuntimeError"),
    ],
)
def test_a_wrong_number_is_explained(function, sentence):
    finding = said(function)
    assert not finding.right
    assert sentence in finding.says


def test_no_answer_is_asked_for():
    assert said(lambda down, up: ...).says == OPEN
    assert said(lambda down, up: None).says == OPEN
