"""A check says what is wrong in a sentence, tells the class where there is one, and never blames a learner for our faults."""

import sys
from types import ModuleType

import pytest

from labkit.errors import LabError
from labkit.workshop import exercise
from labkit.workshop.exercise import Passed, check, exercise_name
from labkit.workshop.property_checks import gradient_everywhere


class Seat:
    """Stands in for a seat in a class: keeps what it is told."""

    def __init__(self):
        self.heard = []

    def tell(self, kind, **what):
        self.heard.append((kind, what))


@pytest.fixture
def seat(monkeypatch):
    here, module = Seat(), ModuleType("labkit.workshop.seat")
    module.joined = lambda: here
    monkeypatch.setitem(sys.modules, "labkit.workshop.seat", module)
    return here


def too_small(answer):
    return None if answer > 3 else "it is too small."


def test_what_is_right_may_be_said():
    assert check(lambda: 4, too_small).says == "Right."
    assert check(lambda: 4, lambda _: Passed("By one."), too_small).says == "Right. By one."
    assert check(lambda: 4, lambda _: Passed("By one.")).right


def test_the_class_hears_right_and_wrong_but_not_that_nothing_was_answered(seat):
    check(lambda: 4, too_small, name="sizes")
    check(lambda: 2, too_small, name="sizes")
    check(lambda: ..., too_small, name="sizes")
    assert seat.heard == [
        ("check", {"exercise": "sizes", "right": True, "says": "Right."}),
        ("check", {"exercise": "sizes", "right": False, "says": "Not yet: it is too small."}),
    ]


def test_nobody_is_told_without_a_seat(monkeypatch):
    monkeypatch.delitem(sys.modules, "labkit.workshop.seat", raising=False)
    assert check(lambda: 4, too_small).right
    module = ModuleType("labkit.workshop.seat")
    module.joined = lambda: None
    monkeypatch.setitem(sys.modules, "labkit.workshop.seat", module)
    assert check(lambda: 4, too_small).right


@pytest.mark.parametrize(
    ("running", "given", "wanted"),
    [
        (("routers", "check-exercise-load"), "", "routers/exercise-load"),
        (("routers", "check-exercise-load"), "my name", "routers/exercise-load"),
        (("routers", "0b1f-4c"), "load", "load"),
        (("routers", "0b1f-4c"), "", "routers/0b1f-4c"),
        (("", ""), "load", "load"),
        (("", ""), "", "an exercise"),
    ],
)
def test_an_exercise_is_called_as_its_cell_unless_that_is_called_by_chance(monkeypatch, running, given, wanted):
    monkeypatch.setattr(exercise, "running_cell", lambda: running)
    assert exercise_name(given) == wanted


def test_an_error_in_what_a_test_runs_is_a_finding_with_the_learners_own_line():
    import torch

    def layer(x):
        return torch.nn.functional.linear(x, torch.zeros(3, 5))

    said = check(lambda: layer, lambda answer: answer(torch.zeros(2, 4)) and None).says
    assert "RuntimeError" in said
    assert 'at "return torch.nn.functional.linear(x, torch.zeros(3, 5))"' in said


def test_an_error_inside_a_layer_of_layers_is_a_finding_too():
    """Nothing of such a layer is a line of the learner's own: it was put together from ready-made parts."""
    from torch import nn, zeros

    layer = nn.Sequential(nn.Linear(60, 6))
    said = check(lambda: layer, gradient_everywhere(zeros(2, 64))).says
    assert "cannot be multiplied (2x64 and 60x6)" in said


def test_an_error_of_a_test_itself_is_not_laid_at_the_learners_door(monkeypatch):
    def careless(_answer):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(exercise, "OTHERS", (*exercise.OTHERS, __file__))
    with pytest.raises(ZeroDivisionError):
        check(lambda: 4, careless)


def test_a_sentence_of_labkit_is_shown_as_it_is():
    def refuse(_answer):
        raise LabError("Give five seeds.")

    assert check(lambda: 4, refuse).says == "Not yet: Give five seeds."
