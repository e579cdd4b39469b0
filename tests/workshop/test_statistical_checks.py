"""A check that a layer is better: passed by what is better for certain, seldom by luck, never by more budget."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from labkit.errors import LabError
from labkit.workshop import exercise, statistical_checks
from labkit.workshop.exercise import OTHERS, check
from labkit.workshop.paired_scores import seeds_needed
from labkit.workshop.statistical_checks import beats, reaches, within_budget

BASE = {0: 0.80, 1: 0.82, 2: 0.79, 3: 0.81, 4: 0.80}
NOISE = np.array([0.004, -0.003, 0.001, -0.002, 0.002])


def better_by(gain, noise=NOISE):
    return {seed: value + gain + wobble for (seed, value), wobble in zip(BASE.items(), noise)}


def said(answer, test) -> str:
    finding = check(lambda: answer, test)
    assert not finding.right
    return finding.says


@pytest.fixture(autouse=True)
def _nothing_tried_before(monkeypatch):
    monkeypatch.setattr(statistical_checks, "_tried", {})


def test_what_is_better_for_certain_passes_in_every_form():
    scores = better_by(0.03)
    forms = [scores, list(scores.values()), np.array(list(scores.values()))]
    forms.append(xr.DataArray(forms[2][::-1], dims="seed", coords={"seed": [4, 3, 2, 1, 0]}))
    for form in forms:
        finding = check(lambda form=form: form, beats(BASE, by=0.02))
        assert finding.right
        assert "+3.0 points (95% interval +2.7 to +3.4, 5 seeds)" in finding.says
        assert "What this cannot tell" in finding.says
        assert "range(5, 10)" in finding.says
    assert check(lambda: {seed: 1 - value for seed, value in scores.items()}, beats(0.2, lower=True)).right
    assert check(lambda: scores, reaches(0.8)).right


def test_a_mean_that_is_better_does_not_pass():
    wide = np.array([0.06, -0.05, 0.01, -0.03, 0.03])
    answer = said(better_by(0.03, wide), beats(BASE, by=0.02))
    assert "this may be luck: +3.4 points" in answer
    assert "seeds would settle it" in answer
    assert "mean is below what is asked for" in said(better_by(0.01, wide), beats(BASE, by=0.02))
    assert "more than 1,000 seeds" in said(better_by(0.0161, wide * 1.0), beats(BASE, by=0.02))


def test_worse_not_enough_and_out_of_reach_are_told_apart():
    assert "worse than the baseline, and that is no accident: \N{MINUS SIGN}2.0 points" in said(
        better_by(-0.02), beats(BASE)
    )
    assert "better for certain, but not by enough" in said(better_by(0.01), beats(BASE, by=0.02))
    assert "whether by enough is open" in said(better_by(0.021, 2 * NOISE), beats(BASE, by=0.02))
    assert "out of reach for this layer" in said(better_by(0.0), beats(BASE, by=0.02))


def test_wrong_answers_that_are_no_measurement_have_their_own_words():
    test = beats(BASE, by=0.02)
    assert "A single run does not show what was luck" in said(0.85, test)
    assert "seed 3 and 4 is missing" in said({0: 0.9, 1: 0.9, 2: 0.91}, test)
    assert "pairs need the same seeds" in said({seed + 5: value for seed, value in BASE.items()}, test)
    assert "there are 3 scores" in said([0.9, 0.91, 0.92], test)
    assert "exactly 0.93: it is the same training again" in said([0.93] * 5, test)
    assert "the baseline itself was trained" in said(dict(BASE), test)
    assert "are these scores measured" in said({seed: value + 0.05 for seed, value in BASE.items()}, test)
    assert "per cent" in said([85.0, 86, 84, 85, 85], test)
    assert "training ran away" in said({**BASE, 2: np.nan}, test)
    assert "still have the axis step" in said(xr.DataArray(np.ones((5, 3)), dims=("seed", "step")), test)
    assert "2 axes" in said(np.ones((5, 3)), test)
    with pytest.raises(LabError, match="3 different seeds"):
        beats(BASE, seeds=2)
    with pytest.raises(LabError):
        beats(BASE, seeds=[1, 1, 1])


def test_the_second_attempt_hears_of_luck():
    test = beats(BASE)
    for gain in (0.0, 0.001, 0.002):
        check(lambda gain=gain: better_by(gain), test)
    finding = check(lambda: better_by(0.03), test)
    assert finding.right
    assert "attempt 4 on the same seeds" in finding.says
    assert "up to 10% of all cases" in finding.says
    again = check(lambda: better_by(0.03), test)  # the same once more is no new attempt
    assert "attempt 4" in again.says


def passes(gains, by=0.0) -> int:
    """How many of these students pass; each row of gains is one."""
    base = dict.fromkeys(range(gains.shape[1]), 0.8)
    count = 0
    for row in gains:
        count += check(
            lambda row=row: {seed: 0.8 + gain for seed, gain in enumerate(row)}, beats(base, by=by, seeds=len(row))
        ).right
    return count


def test_luck_passes_a_student_whose_layer_is_no_better_in_a_fortieth_of_all_cases():
    draw = np.random.default_rng(0)
    students = 800
    lucky = passes(draw.normal(0, 0.01, (students, 5))) / students
    assert 0.012 < lucky < 0.04
    at_the_margin = passes(draw.normal(0.02, 0.01, (students, 5)), by=0.02) / students
    assert 0.012 < at_the_margin < 0.04
    assert passes(draw.normal(0, 0.01, (students, 5)), by=0.02) <= 2


def test_a_point_estimate_would_pass_half_of_them():
    """What the interval is for: the same students under the rule that a sceptic fears."""
    gains = np.random.default_rng(0).normal(0, 0.01, (2000, 5))
    assert 0.45 < (gains.mean(1) > 0).mean() < 0.55


def test_so_many_seeds_would_do():
    draw = np.random.default_rng(1)
    count = seeds_needed(0.01, 0.02)
    assert count is not None
    powerful = passes(draw.normal(0.01, 0.02, (500, count))) / 500
    assert 0.74 < powerful < 0.86
    assert seeds_needed(0, 0.02) is None
    assert seeds_needed(1e-5, 0.02) is None
    assert seeds_needed(0.1, 0) == 2


def train(make, seed, tell):
    """One number a training, which depends on the layer's size and on the seed."""
    torch.manual_seed(seed)
    layer = make()
    tell(1, accuracy=0.5)
    return 0.5 + 0.01 * layer.out_features + 0.001 * float(torch.rand(()))


def dense():
    return nn.Linear(4, 3)


def test_both_are_trained_on_the_same_seeds():
    test = beats(dense, by=0.02, train=train, jobs=1)
    assert check(lambda: lambda: nn.Linear(4, 9), test).right
    assert "the baseline itself was trained" in said(lambda: nn.Linear(4, 3), test)
    assert "what is needed makes a new one" in said(nn.Linear(4, 9), test)
    kept = nn.Linear(4, 9)
    assert "the same layer again and again" in said(lambda: kept, test)
    assert "returns a int" in said(lambda: 3, test)
    assert "function without arguments" in said([1.0], test)


def test_the_baseline_is_trained_once():
    count = []

    def counting(make, seed, tell):
        count.append(make is dense)
        return train(make, seed, tell)

    for width in (5, 6):
        check(lambda width=width: lambda: nn.Linear(4, width), beats(dense, train=counting, jobs=1))
    assert sum(count) == 5
    assert len(count) == 15
    check(lambda: lambda: nn.Linear(4, 5), beats(lambda: nn.Linear(4, 4), train=counting, jobs=1))
    assert len(count) == 25  # another baseline is trained
    check(lambda: lambda: nn.Linear(4, 5), beats(dense, seeds=range(5, 10), train=counting, jobs=1))
    assert len(count) == 35  # and the same one on other seeds


def test_an_answer_that_stops_in_training_is_explained():
    def stops(make, seed, tell):
        return make()(torch.zeros(2, 7)).mean().item()

    assert "RuntimeError" in said(lambda: nn.Linear(4, 9), beats(dense, train=stops, jobs=1))


def test_an_answer_that_stops_in_a_process_is_explained():
    """As a crew raises it: the frames of the worker are gone, and a note tells of them."""

    def stops(make, seed, tell):
        error = ValueError("three, not four")
        error.add_note("In the worker process of yours, seed 0:")
        raise error

    for kept in (OTHERS, (*OTHERS, __file__)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exercise, "OTHERS", kept)
            assert "ValueError: three, not four" in said(
                lambda: nn.Linear(4, 9), beats(dense, seeds=3, train=stops, jobs=1)
            )


def test_a_bigger_network_is_no_better_idea():
    x = torch.randn(7, 4)
    test = within_budget(dense, x)
    finding = check(lambda: lambda: nn.Linear(4, 3), test)
    assert finding.right
    assert "15 trained weights (15)" in finding.says
    deep = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    assert "5.0 times the trained weights (75 against 15)" in said(deep, test)
    assert "and" in said(deep, test)

    class Repeats(nn.Linear):
        def forward(self, x):
            return sum(super(Repeats, self).forward(x) for _ in range(3))

    assert "3.0 times the operations an input" in said(lambda: Repeats(4, 3), test)
    assert "with shape (7, 5)" in said(lambda: nn.Linear(4, 5), test)
    assert "should make a layer" in said(lambda: 5, test)
    assert check(lambda: lambda: Repeats(4, 3), within_budget(dense, x, operations=False)).right
