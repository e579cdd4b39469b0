"""What the notebook shows of several seeds at once: curves of all of them, and a sentence for one that was lost."""

import json

import pytest

from labkit.widgets.live_curve import LiveCurve
from labkit.widgets.run_it_here import RunItHere, in_processes, named
from labkit.widgets.several_seeds import drawn
from labkit.workbench.crew.seeds import Seeds
from labkit.workbench.find import study


def frail():
    def train(seed, tell):
        import os

        for step in range(5):
            tell(step, loss=1 / (1 + step + seed))
        if seed == 1:
            os._exit(4)

    return train


def test_the_control_draws_all_seeds_and_says_which_was_lost():
    shown = RunItHere(Seeds(frail(), 3, steps=4), name="three seeds")
    assert "Ready to train 3 seeds" in shown.message.value
    shown.start()
    assert shown.wait(120)
    assert shown.state == "done"
    assert list(shown.result.seed.values) == [0, 2]
    assert "train, seed 1 was lost" in shown.message.value
    assert "exit code 4" in shown.message.value
    state = json.loads(shown.curve.state)
    assert {one["name"] for one in state["series"]} >= {"train", "train, seed 0", "train, seed 2"}
    assert (state["y"], state["limits"]) == ("Loss", [None, None])


def test_a_cell_that_waits_draws_what_it_hears_and_returns_the_data(monkeypatch):
    curves = []
    monkeypatch.setattr("IPython.display.display", curves.append)
    data = drawn(Seeds(frail(), 3, steps=4))
    assert list(data.seed.values) == [0, 2]
    (curve,) = curves
    assert isinstance(curve, LiveCurve)
    state = json.loads(curve.state)
    assert "train, seed 1 was lost" in state["note"]
    assert state["fraction"] is None


def test_an_error_of_a_training_is_raised_in_the_cell(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda curve: None)

    def train(seed, tell):
        raise KeyError("width")

    with pytest.raises(KeyError, match="width"):
        drawn(Seeds(train, 2))


def test_studies_and_seeds_run_in_processes_and_other_work_in_a_thread():
    assert in_processes(study("fast_feedforward"))
    assert in_processes(Seeds(frail()))
    assert not in_processes(Seeds(frail(), jobs=1))
    assert not in_processes(lambda watch, stop: None)


def test_only_an_accuracy_has_limits():
    labels = RunItHere(Seeds(frail()), name="labels").curve.labels
    assert named(labels, "test_accuracy").limits == (0, 1)
    assert named(labels, "test_loss").limits == (None, None)
    assert named(labels, "test_loss").y == "Test loss"
