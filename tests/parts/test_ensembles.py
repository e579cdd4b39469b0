"""Ensembles: planted ones are found, dense layers have none, and the fast test is the textbook's."""

import numpy as np
import pytest
import torch

from labkit.parts.ensembles import class_means, jaccard, limit, members, p_values, standing_out
from labkit.parts.hoyer import hoyer
from labkit.parts.sparseness import sparseness


@pytest.fixture
def planted():
    """60 units, 3 classes: units 0-3 speak for class 0, 4-7 for 1, 6-9 for 2; all others are silent."""
    torch.manual_seed(0)
    labels = torch.arange(120) % 3
    values = torch.zeros(120, 60)
    for one, units in enumerate((range(4), range(4, 8), range(6, 10))):
        for unit in units:
            values[labels == one, unit] = 1 + torch.rand(40)
    return values, labels


@pytest.mark.parametrize("by", ["distribution", "strength"])
def test_planted_ensembles_are_found(planted, by):
    found = members(*planted, 3, by)
    assert [row.nonzero().flatten().tolist() for row in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert torch.allclose(jaccard(found), torch.tensor([[1, 0, 0], [0, 1, 1 / 3], [0, 1 / 3, 1]], dtype=torch.float64))


def test_dealt_labels_leave_no_class_an_ensemble_of_its_own(planted):
    values, labels = planted
    found = jaccard(members(values, labels[torch.randperm(120)], 3))
    assert found[~torch.eye(3, dtype=torch.bool)].nan_to_num(1.0).mean() > 0.8


def test_where_every_unit_says_something_of_its_own_the_ensemble_is_the_layer():
    torch.manual_seed(0)
    values = torch.rand(100, 30) + torch.arange(30)
    assert standing_out(values).all()
    assert not standing_out(torch.rand(100, 30)).any()


def test_silent_units_and_single_rows_have_no_ensemble():
    assert not standing_out(torch.zeros(20, 5)).any()
    assert not members(torch.rand(3, 5), torch.tensor([0, 0, 1]), 3)[1:].any()
    assert torch.isnan(jaccard(torch.zeros(2, 5, dtype=torch.bool))).all()
    with pytest.raises(ValueError, match="not by 'taste'"):
        members(torch.rand(3, 5), torch.tensor([0, 0, 1]), 2, "taste")


def test_the_test_is_kolmogorovs_and_smirnovs():
    from scipy.stats import ks_2samp, kstwobign

    size = torch.linspace(0, 3, 61, dtype=torch.float64)
    assert np.allclose(limit(size), kstwobign.sf(size.numpy()), atol=1e-5)
    torch.manual_seed(0)
    values = torch.relu(torch.randn(150, 12) + torch.linspace(-1, 1, 12))
    slow = [[ks_2samp(one, other, method="asymp").pvalue for other in values.T] for one in values.T]
    found = p_values(values)
    assert np.allclose(found, np.minimum(slow, 1), atol=0.25)
    assert np.abs(found.numpy() - slow).mean() < 0.02
    assert np.allclose(found.mean(-1), np.mean(slow, -1), atol=0.03)  # what decides whether a unit is a member


def test_silent_units_count_as_often_as_they_are():
    torch.manual_seed(1)
    speaking = torch.relu(torch.randn(80, 6) + 0.5)
    whole = torch.cat([speaking, torch.zeros(80, 30)], -1)
    chance = p_values(whole)
    slow = (chance.sum(-1) - chance.diagonal()) / 35 < 0.05
    assert torch.equal(standing_out(whole), slow & (whole.sum(0) > 0))


def test_a_class_without_rows_has_no_mean(planted):
    means = class_means(*planted, 4)
    assert torch.isnan(means[3]).all()
    assert means[0, 0] > 1
    assert means[0, 4] == 0


def test_hoyer_goes_from_0_to_1_and_is_the_other_measure_rescaled():
    assert hoyer(torch.ones(9)).item() == pytest.approx(0, abs=1e-6)
    assert hoyer(torch.eye(9)[0]).item() == pytest.approx(1)
    assert torch.isnan(hoyer(torch.zeros(9)))
    said = torch.relu(torch.randn(200, 16, dtype=torch.float64))
    even = said.abs().sum(-1) / (4 * said.norm(dim=-1))
    other = sparseness(said.abs().sum(-1), said.square().sum(-1), 16)
    assert torch.allclose(other, hoyer(said) * (1 + even) / (1 + 1 / 4))
    assert (other >= hoyer(said) - 1e-12).all()
