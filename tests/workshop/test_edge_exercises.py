"""The check of the exercise on chosen families: it accepts what is right, and says what is wrong with the rest."""

import re

import pytest
import torch

from labkit.layers.feedforward.selected_edges import SelectedEdges
from labkit.workshop.edge_exercises import equal_curves
from labkit.workshop.exercise import OPEN, check

torch.manual_seed(0)
LAYER = SelectedEdges(3, 5, terms=4)
with torch.no_grad():
    LAYER.scores.normal_()
CURVES, SELECTION = LAYER.curves.detach(), LAYER.selection.detach()
SHARES = SELECTION.T.unsqueeze(1)


def one_off():
    found = CURVES * SHARES * 5
    found[2, 1, 0, 4] += 1
    return found


WRONG = {
    "a list": (lambda: CURVES.tolist(), "is a list; it should be a tensor"),
    "a shape": (lambda: CURVES[..., :2], r"shape \(3, 5, 4, 2\).*\(3, 5, 4, 5\)"),
    "nothing done": (lambda: CURVES, "as they were"),
    "without the number": (lambda: CURVES * SHARES, "5 times too small"),
    "the wrong side": (lambda: CURVES * SHARES / 5, "wrong side"),
    "divided": (lambda: CURVES / SHARES, "do not divide"),
    "divided twice": (lambda: CURVES / SHARES / 5, "do not divide"),
    "changed places": (lambda: CURVES * SELECTION.unsqueeze(1) * 5, "changed places"),
    "one wrong": (one_off, "1 of 300 weights are wrong. The first is that of input 2, family 1, term 0, output 4"),
}


def test_the_right_answer_is_right():
    answer = torch.einsum("ikto,ok->ikto", CURVES, SELECTION) * 5
    assert check(lambda: answer, *equal_curves(CURVES, SELECTION)).right


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_explained(fault):
    answer, sentence = WRONG[fault]
    found = check(answer, *equal_curves(CURVES, SELECTION))
    assert not found.right
    assert re.search(sentence, found.says)


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_answer_not_given_is_asked_for(nothing):
    assert check(lambda: nothing, *equal_curves(CURVES, SELECTION)).says == OPEN
