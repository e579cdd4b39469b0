"""The reliability diagram and the expected calibration error, against sums by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.analysis.confidence.reliability import calibration_error, reliability, reliability_of
from labkit.errors import LabError


def scores_of(shares):
    """Scores of two classes whose softmax gives the first class these shares."""
    shares = torch.tensor(shares)
    return torch.stack((shares.log(), (1 - shares).log()), -1)


def test_sums_by_hand():
    found = reliability_of(scores_of([0.95, 0.95, 0.75, 0.75]), torch.tensor([0, 1, 0, 0]), bins=10)
    assert found.sel(quantity="share").values[[7, 9]] == pytest.approx([0.5, 0.5])
    assert found.sel(quantity="accuracy").values[[7, 9]] == pytest.approx([1.0, 0.5])
    assert found.sel(quantity="confidence").values[[7, 9]] == pytest.approx([0.75, 0.95])
    assert found.attrs["ece"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.45)
    assert np.isnan(found.sel(quantity="accuracy").values[0])


def test_who_is_right_as_often_as_it_says_has_no_error():
    labels = torch.tensor([0] * 8 + [1] * 2)
    assert calibration_error(scores_of([0.8] * 10), labels) == pytest.approx(0.0, abs=1e-6)


def test_the_surest_belong_to_the_last_bin():
    found = reliability_of(torch.tensor([[100.0, 0.0]]), torch.tensor([0]), bins=4)
    assert found.sel(quantity="share").values.tolist() == [0, 0, 0, 1]


def test_sequences_count_each_place():
    scores, labels = torch.randn(4, 7, 3), torch.randint(3, (4, 7))
    assert calibration_error(scores, labels) == calibration_error(scores.flatten(0, 1), labels.flatten())


def test_a_model_is_asked_in_evaluation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.9), nn.Linear(6, 3))
    batch = torch.randn(20, 4), torch.arange(20) % 3
    assert reliability(model, batch).identical(reliability(model, batch))


def test_refusals_say_what_is_wrong():
    with pytest.raises(LabError, match=r"\(3, 2\).*\(4,\)"):
        reliability_of(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(LabError, match="has none"):
        reliability(nn.Linear(4, 3), (torch.randn(5, 4),))
