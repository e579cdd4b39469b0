"""The exercise on prefixes tells right from wrong, and says what is wrong."""

import itertools

import pytest
import torch

from labkit.workbench.backbones.encoder_decoder import Prefixes
from labkit.workshop.attention_exercises import LENGTH, MISTAKES, WIDTH, copies, copies_of_prefixes, right
from labkit.workshop.exercise import OPEN, check


def found(function):
    return check(lambda: copies(function), *copies_of_prefixes())


def by_mask(x):
    length = x.shape[1]
    return x[:, None] * torch.ones(length, length).tril()[..., None]


def by_loop(x):
    made = torch.zeros(len(x), x.shape[1], *x.shape[1:])
    for place in range(x.shape[1]):
        made[:, place, : place + 1] = x[:, : place + 1]
    return made


@pytest.mark.parametrize("function", [by_mask, by_loop])
def test_a_right_answer_is_right(function):
    assert found(function).says == "Right."


def test_what_is_right_is_what_labkit_does():
    given = []
    layer = Prefixes(LENGTH, WIDTH, hidden=2)
    layer.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    copies(layer)
    assert torch.equal(given[0], right())


@pytest.mark.parametrize("says", MISTAKES)
def test_the_usual_mistakes_are_told_apart(says):
    finding = found(lambda x: MISTAKES[says]())
    assert not finding.right
    assert says in finding.says


def test_no_two_mistakes_are_alike():
    given = [*(mistaken() for mistaken in MISTAKES.values()), right()]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(given, 2))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda x: x.tolist(), "is a list"),
        (lambda x: x, "one copy of the sequence for each"),
        (lambda x: by_mask(x)[0], r"rows, the places that ask"),
        (lambda x: by_mask(x).masked_fill(by_mask(x) == 0, -torch.inf), "not finite"),
        (lambda x: by_mask(x) + by_mask(x)[:, :1], "may be read and should be as it was"),
        (lambda x: by_mask(x) + 1 - by_mask(x).sign(), "comes later and should be 0"),
        (lambda x: x @ torch.ones(9), "your code stopped"),
    ],
)
def test_a_wrong_answer_hears_why(wrong, says):
    finding = found(wrong)
    assert not finding.right
    assert says in finding.says


def test_an_answer_not_given_is_asked_for():
    assert found(lambda x: ...).says == OPEN
