"""The exercise on ranks tells right from wrong, and says what is wrong."""

import pytest
import torch

from labkit.parts.orthonormal import kept
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.rank_exercises import CASES, MISTAKES, answers, right_ranks


def found(function):
    return check(lambda: answers(function), *right_ranks())


def by_loop(values, threshold):
    """The rule, read aloud."""
    rank = len(values)
    while rank > 1 and values[rank - 1 :].norm() <= threshold * values.norm():
        rank -= 1
    return rank


@pytest.mark.parametrize("right", [kept, by_loop], ids=["labkit", "loop"])
def test_a_right_answer_is_right(right):
    assert found(right).says == "Right."


@pytest.mark.parametrize("says", MISTAKES)
def test_the_usual_mistakes_are_told_apart(says):
    finding = found(MISTAKES[says])
    assert not finding.right
    assert says in finding.says


def test_no_two_mistakes_answer_alike():
    given = {tuple(one(torch.tensor(values), share) for values, share in CASES) for one in (*MISTAKES.values(), kept)}
    assert len(given) == len(MISTAKES) + 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda values, threshold: torch.tensor(kept(values, threshold)), "whole number"),
        (lambda values, threshold: float(kept(values, threshold)), "returned a float"),
        (lambda values, threshold: max(1, kept(values, threshold) - 1), "too small by one"),
        (lambda values, threshold: kept(values, threshold) + 1, "too large by one"),
        (lambda values, threshold: len(values), "More could go"),
        (lambda values, threshold: 1, "may go"),
        (lambda values, threshold: 0, "one direction at least"),
        (lambda values, threshold: 99, "cannot remain"),
        (lambda values, threshold: values @ torch.ones(9), "your code stopped"),
    ],
)
def test_a_wrong_answer_hears_why(wrong, says):
    finding = found(wrong)
    assert not finding.right
    assert says in finding.says


def test_an_answer_not_given_is_asked_for():
    assert found(lambda values, threshold: ...).says == OPEN
