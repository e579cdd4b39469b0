"""The exercise on a shared layer's width: the right answer is right, and wrong ones are explained."""

import pytest

from labkit.layers.feedforward.deep_feedforward import DeepFeedforward
from labkit.workbench.budget import parameters
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.share_exercises import CASES, Usual, answers, held, shared_units, widest


def by_counting(width, units, blocks):
    """Widen a layer, one hidden unit after the other, until it holds too much."""
    whole = blocks * parameters(DeepFeedforward(width, width, layers=2, units=units))
    found = units * blocks
    while 2 * width * (found + 1) + (found + 1) + width <= whole:
        found += 1
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_real_layers(case):
    layer = DeepFeedforward(case.width, case.width, layers=2, units=case.units)
    assert held(case) == case.blocks * parameters(layer)
    assert parameters(DeepFeedforward(case.width, case.width, layers=2, units=widest(case))) <= held(case)
    assert parameters(DeepFeedforward(case.width, case.width, layers=2, units=widest(case) + 1)) > held(case)


def test_the_right_answer_is_right():
    assert check(lambda: answers(by_counting), *shared_units()).right


def test_no_answer_is_asked_for():
    assert check(lambda: answers(lambda width, units, blocks: ...), *shared_units()).says == OPEN


WRONG = {
    "a list": (lambda width, units, blocks: [units], "whole numbers"),
    "a fraction": (lambda width, units, blocks: units * blocks / 1, "whole numbers"),
    "times blocks": (lambda width, units, blocks: units * blocks, "the numbers saved there pay for more"),
    "no biases": (
        lambda width, units, blocks: blocks * (2 * width * units + units + width) // (2 * width),
        "costs its weights and also a bias",
    ),
    "far too wide": (lambda width, units, blocks: 2 * units * blocks, "all layers of the usual model together only"),
    "too narrow": (lambda width, units, blocks: units, "at least one more hidden unit"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_explained(fault):
    function, sentence = WRONG[fault]
    finding = check(lambda: answers(function), *shared_units())
    assert not finding.right
    assert sentence in finding.says


def test_an_answer_that_is_off_by_one_says_which_side():
    case = Usual(64, 256, 4)
    for off, sentence in ((1, "all layers of the usual model together only"), (-1, "pay for more")):
        finding = check(lambda off=off: [widest(case) + off], *shared_units([case]))
        assert sentence in finding.says


def test_an_answer_gives_the_right_number_away_nowhere():
    for off in (-3, 1, 5):
        finding = check(lambda off=off: [widest(CASES[2]) + off], *shared_units([CASES[2]]))
        assert f"{widest(CASES[2]):,}" not in finding.says
