"""Distributions over training: shares add up, each layer keeps its own range."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.distribution import distribution
from labkit.views.theme import alt_text


def spread(layers: int = 2, bins: int = 10, steps: int = 0, low: float = -1.0, high: float = 9.0) -> xr.DataArray:
    shape = (steps, layers, bins) if steps else (layers, bins)
    shares = np.random.default_rng(0).dirichlet(np.ones(bins), shape[:-1])
    edges = np.linspace(low, high, bins + 1)
    centres = np.outer(np.arange(1, layers + 1), (edges[1:] + edges[:-1]) / 2)
    coords = {"layer": [f"layer {at}" for at in range(layers)], "centre": (("layer", "bin"), centres)}
    return xr.DataArray(shares, dims=("step", "layer", "bin")[-len(shape) :], coords=coords)


def test_the_colour_is_the_power_of_ten_of_the_share():
    data = spread(steps=4)
    panel = distribution(data).data[1]
    np.testing.assert_allclose(10 ** values_of(panel.z), data.values[:, 1].T, rtol=1e-5)
    np.testing.assert_allclose(values_of(panel.y), data.centre.values[1])
    assert values_of(panel.x).tolist() == [0, 1, 2, 3]


def test_bins_that_are_put_together_keep_all_values():
    panel = distribution(spread(bins=3000, steps=4)).data[0]
    assert values_of(panel.z).shape[0] <= 120
    np.testing.assert_allclose(np.nansum(10 ** values_of(panel.z).astype(float), 0), 1, rtol=1e-5)


def test_a_bin_without_values_stays_empty():
    data = spread(steps=3)
    data[:, 0, 2] = 0
    assert np.isnan(values_of(distribution(data).data[0].z)[2]).all()


def test_without_steps_each_layer_is_a_histogram_in_per_cent():
    data = spread()
    figure = distribution(data)
    assert [trace.type for trace in figure.data] == ["bar", "bar"]
    np.testing.assert_allclose(values_of(figure.data[1].y), 100 * data.values[1], rtol=1e-6)


def test_a_line_marks_zero_where_zero_is_in_range():
    assert len(distribution(spread()).layout.shapes) == 2
    assert not distribution(spread(low=1)).layout.shapes


def test_many_layers_are_on_a_slider_that_shows_the_last():
    figure = distribution(spread(layers=9, steps=5))
    assert len(figure.data) == 1
    assert [step.label for step in figure.layout.sliders[0].steps] == [f"layer {at}" for at in range(9)]
    np.testing.assert_array_equal(values_of(figure.data[0].y), values_of(figure.frames[8].data[0].y))
    assert values_of(figure.frames[8].data[0].y)[-1] == pytest.approx(9 * 8.5)


def test_the_sentence_says_where_nine_tenths_of_the_values_lie():
    data = spread(1, 4, low=-2, high=2)
    data[0] = [0.02, 0.49, 0.47, 0.02]
    assert "nine tenths of the values lie between −1.0 and 1.0" in alt_text(distribution(data))


def test_exact_zeros_and_values_beyond_the_range_are_told_where_they_were_counted():
    data = spread().assign_coords(zeros=("layer", [0.5, 0.25]), beyond=("layer", [0.0, 0.04]))
    text = distribution(data).layout.title.subtitle.text.replace("<br>", " ")
    assert "25\u00a0% are exactly zero" in text
    assert "up to 4.0\u00a0%" in text


@pytest.mark.parametrize(
    ("fault", "hint"),
    [(lambda data: data.drop_vars("centre"), "coordinate centre"), (lambda data: data - 1, "negative")],
)
def test_bins_without_a_place_and_negative_shares_are_refused(fault, hint):
    with pytest.raises(LabError, match=hint):
        distribution(fault(spread()))
