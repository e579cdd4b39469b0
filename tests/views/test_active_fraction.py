"""Active units: the threshold moves, the scale does not."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.active_fraction import active_fraction
from labkit.views.alternative import values_of
from labkit.views.theme import alt_text


def shares(thresholds: int = 3, layers: int = 2, tokens: int = 4, **coords) -> xr.DataArray:
    random = np.random.default_rng(0)
    values = np.sort(random.random((thresholds, layers, tokens)), 0)[::-1]
    coords = {"threshold": np.arange(thresholds) / 2, "layer": [f"l{at}" for at in range(layers)], **coords}
    return xr.DataArray(values, dims=("threshold", "layer", "token"), coords=coords)


def test_the_picture_opens_at_the_lowest_threshold_and_every_threshold_is_a_frame():
    data = shares()
    figure = active_fraction(data)
    np.testing.assert_allclose(values_of(figure.data[0].z), 100 * data.values[0], rtol=1e-6)
    assert figure.layout.sliders[0].active == 0
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "0.5", "1"]
    np.testing.assert_allclose(values_of(figure.frames[2].data[0].z), 100 * data.values[2], rtol=1e-6)


def test_the_bars_are_the_means_of_the_layers_and_move_with_the_threshold():
    data = shares()
    figure = active_fraction(data)
    np.testing.assert_allclose(values_of(figure.data[1].x), 100 * data.values[0].mean(1), rtol=1e-6)
    np.testing.assert_allclose(values_of(figure.frames[1].data[1].x), 100 * data.values[1].mean(1), rtol=1e-6)


def test_thresholds_in_any_order_are_put_in_order():
    data = shares()
    assert active_fraction(data.isel(threshold=[2, 0, 1])).to_json() == active_fraction(data).to_json()


def test_few_tokens_are_written_and_all_are_on_hover():
    words = ["The", "Ġcat", "Ċ", "<b>"]
    figure = active_fraction(shares(text=("token", words)))
    assert list(figure.layout.xaxis.ticktext) == ["The", "cat", "↵", "&lt;b&gt;"]
    assert list(figure.data[0].text[0]) == list(figure.layout.xaxis.ticktext)
    assert "%{text}" in figure.data[0].hovertemplate


def test_many_tokens_are_averaged_and_that_is_said():
    data = shares(2, 2, 100_000)
    figure = active_fraction(data)
    assert values_of(figure.data[0].z).shape[1] <= 256
    assert "each cell the mean of 391 tokens" in figure.layout.title.subtitle.text.replace("<br>", " ")
    np.testing.assert_allclose(values_of(figure.data[1].x), 100 * data.values[0].mean(1), rtol=1e-5)


def test_one_threshold_needs_no_slider():
    figure = active_fraction(shares().isel(threshold=0, drop=True))
    assert not figure.layout.sliders
    assert not figure.frames


def test_the_sentence_says_both_ends_of_the_threshold():
    data = shares(2, 2, 2)
    data.values[:] = [[[0.8, 0.6], [0.4, 0.2]], [[0.1, 0.1], [0.0, 0.0]]]
    text = alt_text(active_fraction(data)).replace("\u00a0", " ")
    assert "above 0 50 % of the units are active, above 0.5 5.0 %" in text
    assert "most in l0 (70 %), fewest in l1 (30 %)" in text


def test_what_is_no_share_is_refused():
    with pytest.raises(LabError, match="from 0 to 1"):
        active_fraction(shares() * 100)
