"""A guess before the run: drawn, locked, held against what happened, in words that are right and told to the class."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.widgets import predict as module
from labkit.widgets.guess_gap import Axis, axis, gap, truth_of
from labkit.widgets.predict import FIRST, PLACES, predict
from labkit.workshop.classroom import messages

X, Y = Axis("step", 0, 600), Axis("accuracy", 0, 1, "points")
STEPS = np.linspace(0, 600, 61)


@pytest.fixture(autouse=True)
def _nothing_asked_before(monkeypatch):
    monkeypatch.setattr(module, "_asked", {})


def asked(question="What will it reach?"):
    return predict(question, x=("step", 0, 600), y=("accuracy", 0, 1))


def found(points, values, y=Y):
    return gap(points, truth_of((STEPS, values), X), X, y)


def test_the_area_between_is_the_mean_distance_over_the_width():
    assert found([(0, 0.5), (600, 0.5)], np.full(61, 0.43)).area == pytest.approx(0.07)
    wedge = found([(0, 0.0), (600, 1.0)], np.full(61, 0.0))
    assert wedge.area == pytest.approx(0.5, abs=1e-3)
    assert wedge.signed == pytest.approx(0.5, abs=1e-3)
    crossing = found([(0, 0.0), (600, 1.0)], np.full(61, 0.5))
    assert crossing.area == pytest.approx(0.25, abs=1e-2)
    assert crossing.signed == pytest.approx(0, abs=1e-3)


def test_the_words_say_how_far_in_which_direction_and_where():
    late = np.where(STEPS > 300, 0.5, 0.8)
    said = found([(0, 0.8), (600, 0.8)], late).says
    assert said.startswith("On average your guess is 14.8 points too high, mostly after step 3")
    early = found([(0, 0.2), (600, 0.2)], np.where(STEPS < 150, 0.6, 0.2)).says
    assert "too low, mostly before step 1" in early
    middle = found([(0, 0.5), (600, 0.5)], np.where((STEPS > 240) & (STEPS < 360), 0.9, 0.5)).says
    assert "mostly between step 2" in middle
    everywhere = found([(0, 0.5), (600, 0.5)], np.full(61, 0.43)).says
    assert "7 points too high." in everywhere
    both = found([(0, 0.0), (600, 1.0)], np.full(61, 0.5)).says
    assert "25.1 points off, as much too high as too low" in both
    assert "Nearly the same" in found([(0, 0.43), (600, 0.43)], np.full(61, 0.435)).says


def test_a_guess_is_held_against_one_without_a_thought():
    rising = np.linspace(0.1, 0.9, 61)
    good = found([(0, 0.1), (600, 0.9)], rising)
    assert "your guess is nearer" in good.says
    assert "straight line from corner to corner" in good.says
    bad = found([(0, 0.9), (600, 0.1)], rising)
    assert "which is nearer" in bad.says
    assert bad.naive == good.naive < bad.area
    assert "the same value, 0.5," in found([(0, 0.4), (600, 0.4)], np.full(61, 0.5)).says
    assert "downwards" in found([(0, 0.4), (600, 0.4)], 1 - STEPS / 600).says


def test_other_units_are_told_as_they_are():
    nats = Axis("loss", 0, 3, "nats")
    assert "0.5 nats too high" in found([(0, 1.5), (600, 1.5)], np.full(61, 1.0), nats).says
    assert axis(("accuracy", 0, 1), "y").unit == "points"
    assert axis(("loss", 0, 3, "nats"), "y").unit == "nats"
    for wrong in (("loss", 3, 0), ("loss", 0), ("loss", "a", "b"), ("loss", 0, float("nan")), 7):
        with pytest.raises(LabError):
            axis(wrong, "y")


def test_what_happened_is_read_in_every_form():
    rows = np.stack([np.linspace(0, 1, 61), np.linspace(0, 0.8, 61)])
    data = xr.DataArray(rows, dims=("seed", "step"), coords={"step": STEPS, "seed": [0, 1]})
    for one in (data, data.T, data.expand_dims(arm=["a"])):
        truth = truth_of(one, X)
        assert truth.mean[-1] == pytest.approx(0.9)
        assert truth.low[-1] == pytest.approx(0.8)
        assert truth.high[-1] == pytest.approx(1.0)
    assert truth_of(rows[0], X).x[-1] == 600
    holes = np.where(STEPS > 500, np.nan, 0.5)
    assert truth_of((STEPS, holes), X).x[-1] == 500
    wrong = [
        (data.expand_dims(layer=2), "choose with .sel"),
        (np.full(4, np.nan), "all are missing"),
        (np.zeros((2, 3)), "one curve"),
        (([1, 2], [1, 2, 3]), "each place has one value"),
    ]
    for actual, sentence in wrong:
        with pytest.raises(LabError, match=sentence):
            truth_of(actual, X)
    beyond = truth_of(([700, 800], [0.1, 0.2]), X)
    with pytest.raises(LabError, match="outside the picture"):
        gap([(0, 0.5)], beyond, X, Y)


def test_nothing_is_revealed_before_a_guess_is_locked():
    guess = asked()
    assert guess.reveal(np.full(61, 0.5)).says == FIRST
    guess.points([(0, 0.1), (300, 0.8)])
    assert guess.reveal(np.full(61, 0.5)).gap is None
    assert "truth" not in json.loads(guess.state)
    assert "points" in guess.lock().reveal(np.full(61, 0.5)).says
    assert "truth" in json.loads(guess.state)


def test_a_guess_can_be_said_and_taken_back():
    guess = asked()
    with pytest.raises(LabError, match="no guess yet"):
        guess.lock()
    with pytest.raises(LabError, match=r"\(700, 0.5\)"):
        guess.points([(700, 0.5)])
    guess.points([(0, 0.1), (300, 0.8)]).lock()
    assert guess.curve[-1] == (600, 0.8)
    assert len(guess.curve) == PLACES
    with pytest.raises(LabError, match="again"):
        guess.points([(0, 0.2)])
    guess.reveal(np.full(61, 0.5))
    guess.again()
    assert guess.curve == []
    assert "truth" not in json.loads(guess.state)
    assert guess.reveal(np.full(61, 0.5)).says == FIRST


def test_a_lock_without_a_guess_does_not_hold():
    guess = asked()
    guess.locked = True  # as a browser might say it
    assert not guess.locked


def test_the_same_question_keeps_its_guess_when_its_cell_runs_again():
    asked().points([(0, 0.1), (300, 0.8)]).lock()
    again = asked()
    assert again.locked
    assert again.curve[0] == (0, pytest.approx(0.1))
    assert asked("Another?").curve == []
    assert predict("What will it reach?", x=("step", 0, 60), y=("accuracy", 0, 1)).curve == []


def test_the_class_hears_the_guess_once_and_its_area(monkeypatch):
    heard, seat = [], ModuleType("labkit.workshop.seat")
    here = type("Seat", (), {"tell": lambda self, kind, **what: heard.append((kind, what))})()
    seat.joined = lambda: here
    monkeypatch.setitem(sys.modules, "labkit.workshop.seat", seat)
    guess = asked()
    guess.points([(0, 0.5), (600, 0.5)])
    assert heard == []
    guess.lock()
    guess.lock()
    guess.reveal(np.full(61, 0.43))
    assert [kind for kind, _ in heard] == ["guess", "guess"]
    assert heard[0][1]["question"] == "What will it reach?"
    assert heard[0][1]["points"][0] == [0, 0.5]
    assert "area" not in heard[0][1]
    assert heard[1][1]["area"] == pytest.approx(0.07)
    asked()  # its cell runs again: the guess is there, and is no news
    assert len(heard) == 2
    assert heard[1][1]["truth"][-1] == [600, 0.43]
    for kind, what in heard:
        messages.read(kind, what)  # as a class takes it


class Run:
    """Stands in for a run that trains: its curve grows, and who looks is told."""

    branch_name, steps, quantities = "main", 600, ["training_loss", "test_accuracy"]

    def __init__(self):
        self.at, self.callbacks = 1, []

    def status(self):
        return {"state": "running", "step": int(STEPS[self.at - 1])}

    def curves(self, quantity):
        return {"main": (STEPS[: self.at], np.full(self.at, 0.43))} if quantity == "test_accuracy" else {}

    def on_round(self, callback):
        self.callbacks.append(callback)
        return lambda: self.callbacks.clear()

    def go(self, at):
        self.at = at
        for callback in list(self.callbacks):
            callback()


def test_a_run_is_drawn_while_it_trains():
    guess, run = asked().points([(0, 0.5), (600, 0.5)]).lock(), Run()
    assert "as soon as the run has two values of test_accuracy" in guess.reveal(run).says
    guess.acked = guess.seq
    run.go(30)
    assert json.loads(guess.state)["says"].startswith("So far: On average your guess is 7 points too high")
    before = guess.seq
    run.go(40)  # the browser has not drawn the last picture: nothing is sent
    assert guess.seq == before
    run.go(61)
    assert json.loads(guess.state)["says"].startswith("On average your guess")
    assert run.callbacks == []


def test_a_long_curve_travels_thinned():
    guess = asked().points([(0, 0.5), (600, 0.5)]).lock()
    steps = np.linspace(0, 600, 100_000)
    guess.reveal((steps, np.sin(steps)))
    assert len(guess.state) < 20_000


def test_a_panel_page_has_the_same_picture():
    from labkit.widgets.panel_predict import PanelPredict

    picture = PanelPredict("What?", X, Y)
    assert picture.reveal(np.full(61, 0.5)).says == FIRST
    assert "7 points too high" in picture.points([(0, 0.5)]).lock().reveal(np.full(61, 0.43)).says
