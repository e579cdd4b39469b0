"""The check of the exercise on grouped activations: it accepts what is right, and says what is wrong with the rest."""

import pytest
import torch

from labkit.layers.activation.mixed_activation import FUNCTIONS
from labkit.workshop.activation_exercises import watched, well_grouped
from labkit.workshop.exercise import OPEN, check

X = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
CHOICE = torch.tensor([4, 0, 1, 1, 5, 3, 2, 0, 4, 2, 1, 3])


def grouped(x, choice, functions):
    said = torch.empty_like(x)
    for place, function in enumerate(functions.values()):
        own = choice == place
        said[:, own] = function(x[:, own])
    return said


def in_order(x, choice, functions):
    return torch.cat([function(x[:, choice == place]) for place, function in enumerate(functions.values())], -1)


def all_at_once(x, choice, functions):
    said = torch.stack([function(x) for function in functions.values()], -1)
    return said.gather(-1, choice.expand(len(x), -1).unsqueeze(-1)).squeeze(-1)


def one_by_one(x, choice, functions):
    every = list(functions.values())
    return torch.stack([every[int(one)](x[:, neuron]) for neuron, one in enumerate(choice)], -1)


def without_the_last(x, choice, functions):
    said = grouped(x, choice, functions)
    said[:, choice == len(functions) - 1] = 0
    return said


WRONG = {
    "a list": (lambda x, choice, functions: grouped(x, choice, functions).tolist(), "should be a tensor"),
    "a column": (lambda x, choice, functions: grouped(x, choice, functions)[:, :1], r"shape \(20, 1\).*\(20, 12\)"),
    "in order": (in_order, "back to its own neuron's place"),
    "nothing applied": (lambda x, choice, functions: x, "no function was applied"),
    "a group left out": (without_the_last, "1 neurons say 0"),
    "one ReLU for all": (
        lambda x, choice, functions: x.relu(),
        "The first is neuron 0, whose choice is 4: that is ELU",
    ),
    "all functions on all": (all_at_once, "ReLU was run on 240 numbers and its own neurons have 40"),
    "neuron by neuron": (one_by_one, "sigmoid was called 3 times"),
}


def finding(answer):
    return check(lambda: watched(answer, X, CHOICE, FUNCTIONS), *well_grouped(X, CHOICE, FUNCTIONS))


def test_the_right_answer_is_right():
    assert finding(grouped).right


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_explained(fault):
    import re

    answer, sentence = WRONG[fault]
    found = finding(answer)
    assert not found.right
    assert re.search(sentence, found.says)


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_answer_not_given_is_asked_for(nothing):
    assert finding(lambda x, choice, functions: nothing).says == OPEN
