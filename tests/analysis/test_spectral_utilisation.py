"""Ranks, concentration and utilisation have their known values, and are read before and after the nonlinearity."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.analysis.geometry.spectral_utilisation import spectral_utilisation, utilisation_of
from labkit.analysis.geometry.spectrum import spectrum
from labkit.layers.feedforward.gated_feedforward import GatedFeedforward
from labkit.parts.spectra import concentration, hard_rank, soft_rank, variances


def test_equal_directions_use_everything_and_one_direction_next_to_nothing():
    for units in (1, 4, 10):
        even, one = np.ones(units), np.eye(1, units)[0]
        assert (hard_rank(even), soft_rank(even)) == pytest.approx((units, units))
        assert concentration(even, units) == pytest.approx(0)
        assert (hard_rank(one), soft_rank(one)) == pytest.approx((1, 1))
        assert concentration(one, units) == pytest.approx(1 - 1 / units)


def test_ranks_of_two_unequal_directions_are_worked_out_by_hand():
    powers = np.array([3.0, 1.0])
    assert hard_rank(powers) == pytest.approx(16 / 10)
    assert soft_rank(powers) == pytest.approx(4 / 3**0.75)
    assert concentration(powers, 2) == pytest.approx(0.25)
    assert concentration(powers, 4) == pytest.approx(2 * np.mean([0.5, 0.5, 0.25, 0.0]))


def test_weak_directions_count_softly_and_hardly_hard():
    before, after = np.ones(4), np.concatenate([np.ones(4), np.full(40, 0.01)])
    assert soft_rank(after) - soft_rank(before) > 3 * (hard_rank(after) - hard_rank(before)) > 0


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_variances_are_the_eigenvalues_of_the_covariance_wherever_the_mean_lies(shape):
    values = torch.randn(shape).double()
    expected = np.linalg.eigvalsh(np.cov(values.numpy().T))[::-1] * (len(values) - 1)
    found = variances(values + 100)
    assert len(found) == min(shape[0] - 1, shape[1])
    assert found == pytest.approx(expected[: len(found)], abs=1e-8)


def test_utilisation_is_the_harmonic_mean_of_both_shares_and_knows_nothing_of_scale():
    values = torch.randn(100, 6) * torch.arange(1, 7)
    found = utilisation_of(values)
    shares = found["hard rank"] / 6, found["soft rank"] / 6
    assert found["utilisation"] == pytest.approx(2 / (1 / shares[0] + 1 / shares[1]))
    assert utilisation_of(7 * values - 3) == pytest.approx(found, rel=1e-5)


def test_no_variance_is_no_number():
    assert all(np.isnan(value) for value in utilisation_of(torch.ones(10, 3)).values())


def test_before_is_the_first_map_and_after_is_behind_the_nonlinearity():
    model, x = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 2)), torch.randn(300, 3)
    found = spectral_utilisation(model, (x,))
    first = model[0](x).detach()
    for stage, values in (("before", first), ("after", first.relu())):
        expected = utilisation_of(values)
        assert found.sel(stage=stage).values[0] == pytest.approx(list(expected.values()), rel=1e-4)
    assert found.sel(stage="before", quantity="soft rank").item() <= 3.001
    assert found.sel(stage="after", quantity="soft rank").item() > 3.5
    assert found.units.values == [20]


def test_it_agrees_with_the_spectrum():
    model, x = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 2)), torch.randn(300, 3)
    found, known = spectral_utilisation(model, (x,)).sel(stage="after"), spectrum(model, (x,))
    assert found.sel(quantity="soft rank").values == pytest.approx(known.effective_rank.values, rel=1e-5)
    assert found.sel(quantity="hard rank").values == pytest.approx(known.participation_ratio.values, rel=1e-5)


def test_convolutions_have_no_before():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    found = spectral_utilisation(model, (torch.randn(5, 1, 8, 8),))
    assert found.sel(stage="before").isnull().all()
    assert found.sel(stage="after").notnull().all()


def test_of_a_gated_layer_the_first_map_is_taken_before():
    layer, x = GatedFeedforward(6, 6, width=9), torch.randn(40, 6)
    found = spectral_utilisation(nn.Sequential(layer), (x,)).sel(stage="before")
    assert found.values[0] == pytest.approx(list(utilisation_of(layer.opening(x).detach()).values()), rel=1e-4)
