"""The exercises on lazy neurons: right answers pass, and each usual mistake is named."""

import pytest
import torch

from labkit.analysis.confidence.reliability import calibration_error
from labkit.workshop.exercise import check
from labkit.workshop.lazy_exercises import calibration, strongest_kept

HIDDEN = torch.rand(6, 9, generator=torch.Generator().manual_seed(0)) + 0.1
TOP = HIDDEN * (HIDDEN.sort(-1, descending=True).values[:, 2:3] <= HIDDEN)
SCORES = 2 * torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(400) % 4
SURE, RIGHT = SCORES.softmax(-1).max(-1).values, SCORES.argmax(-1) == LABELS


def says(answer, tests):
    found = check(lambda: answer, *tests)
    return found.right, found.says


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (TOP.tolist(), "should be a tensor"),
        (TOP[:, :3], "keep their place"),
        (TOP > 0, "multiply"),
        (HIDDEN - TOP, "silenced the strongest"),
        ((TOP > 0).float(), "with 1 in place"),
        (HIDDEN * (HIDDEN.sort(0, descending=True).values[2:3] <= HIDDEN), "dim=-1"),
        (HIDDEN, "up to 9 units"),
        (-TOP, "do not say what they said"),
    ],
)
def test_wrong_units_are_explained(answer, words):
    right, sentence = says(answer, strongest_kept(HIDDEN, 3))
    assert not right
    assert words in sentence


def test_the_strongest_units_are_right():
    assert says(TOP.clone(), strongest_kept(HIDDEN, 3))[0]


def test_the_calibration_error_is_that_of_the_analysis():
    assert says(calibration_error(SCORES, LABELS), calibration(SURE, RIGHT, 10))[0]
    assert says(torch.tensor(calibration_error(SCORES, LABELS)), calibration(SURE, RIGHT, 10))[0]


def gaps():
    place = (SURE * 10).long().clamp(max=9)
    used = [place == at for at in range(10) if bool((place == at).any())]
    each = torch.stack([RIGHT[one].float().mean() - SURE[one].mean() for one in used])
    return each, torch.stack([one.float().mean() for one in used])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("0.1", "one number"),
        (float("nan"), "empty bin"),
        ((gaps()[0] * gaps()[1]).sum().item(), "cancel"),
        (gaps()[0].abs().mean().item(), "share of the inputs"),
        (gaps()[0].abs().sum().item(), "added the gaps"),
        ((SURE - RIGHT.float()).abs().mean().item(), "input by input"),
        (1 - RIGHT.float().mean().item(), "error rate"),
        (100 * calibration_error(SCORES, LABELS), "percent"),
        (0.777, "it should be"),
    ],
)
def test_wrong_calibration_errors_are_explained(answer, words):
    right, sentence = says(answer, calibration(SURE, RIGHT, 10))
    assert not right
    assert words in sentence
