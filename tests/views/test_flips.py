"""Flips and dropped tokens: shares by layer, token by token, where in the text."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.dropped import dropped
from labkit.views.flips import flips
from labkit.views.theme import alt_text


def marks(values: np.ndarray, **coords) -> xr.DataArray:
    names = [f"layers.{at}" for at in range(len(values))]
    return xr.DataArray(np.asarray(values, float), dims=("layer", "token"), coords={"layer": names, **coords})


def plain(text: str) -> str:
    return text.replace("<br>", " ").replace("\u00a0", " ")


def subtitle(figure) -> str:
    return plain(figure.layout.title.subtitle.text)


def test_over_the_training_lines_sum_up_what_rows_show():
    shares = np.array([[0.5, 0.1], [0.3, 0.1], [0.1, 0.1]])
    data = xr.DataArray(shares, dims=("step", "layer"), coords={"step": [10, 20, 30], "layer": ["a.0", "a.1"]})
    figure = flips(data)
    lines = {trace.name: values_of(trace.y) for trace in figure.data if trace.type == "scatter"}
    np.testing.assert_allclose(lines["mean of the layers"], [30, 20, 10], rtol=1e-6)
    np.testing.assert_allclose(lines["most restless: layer 0"], [50, 30, 10], rtol=1e-6)
    assert "on average 30 % at step 10 and 10 % at step 30" in subtitle(figure).lower()
    rows = next(trace for trace in figure.data if trace.type == "heatmap")
    np.testing.assert_allclose(values_of(rows.z), 100 * shares.T, rtol=1e-6)


def test_steps_that_nobody_looked_at_are_left_out():
    values = np.full((9, 2), np.nan)
    values[[3, 7]] = 0.25
    figure = flips(xr.DataArray(values, dims=("step", "layer"), coords={"step": np.arange(9)}))
    assert values_of(figure.data[0].x).tolist() == [3, 7]


def test_between_two_recordings_each_cell_is_a_token():
    values = np.zeros((2, 50))
    values[1, 40:] = 1
    data = marks(values)
    data.attrs["between"] = "float32 and bfloat16"
    figure = flips(data)
    np.testing.assert_array_equal(values_of(figure.data[0].z), values)
    assert "10 % of the first choices differ between float32 and bfloat16, most in layer 1 (20 %)" in subtitle(figure)
    assert "80 % of the tokens keep theirs in all layers" in subtitle(figure)
    assert figure.layout.yaxis.ticktext[1].replace("\u00a0", " ") == "1 · 20 %"


def test_it_opens_where_most_happens():
    values = np.zeros((1, 200))
    values[0, 130:140] = 1
    low, high = flips(marks(values)).layout.xaxis.range
    assert low <= 130
    assert high >= 139


def test_the_profile_goes_over_the_whole_text():
    values = np.zeros((2, 1000))
    values[:, 500:] = 1
    bars = next(trace for trace in dropped(marks(values)).data if trace.type == "bar")
    share = values_of(bars.y)
    assert len(share) == 112  # stretches of nine tokens
    assert values_of(bars.x)[:2].tolist() == [4, 13]
    assert share[0] == 0
    assert share[55] == pytest.approx(100 * 4 / 9, rel=1e-5)
    assert share[-1] == 100


def test_late_tokens_are_compared_with_early_ones():
    values = np.zeros((2, 100))
    values[0, 60:] = 1
    figure = dropped(marks(values))
    assert "20 % of all tokens in all layers are dropped, most in layer 0 (40 %)" in subtitle(figure)
    assert "0 % in the first half of the text, 40 % in the second" in subtitle(figure)
    assert "By layer: 40 % in layer 0 and 0 % in layer 1" in plain(alt_text(figure))


def test_a_token_that_lost_some_of_its_places_is_pale_and_not_counted():
    values, lost = np.zeros((1, 10)), np.zeros((1, 10))
    values[0, 9], lost[0, 8:] = 1, (1, 2)
    data = marks(values, lost=(("layer", "token"), lost))
    figure = dropped(data)
    assert values_of(figure.data[0].z)[0].tolist() == [0] * 8 + [1, 2]
    assert "10 % of all tokens" in subtitle(figure)
    assert figure.layout.yaxis.ticktext[0].replace("\u00a0", " ").endswith("· 10 %")
    assert "pale: lost some of its places" in subtitle(figure)
    assert "2: dropped" in figure.data[0].hovertemplate


def test_tokens_that_a_layer_has_not_do_not_count():
    values = np.zeros((2, 10))
    values[0, :5], values[1, 5:] = 1, np.nan
    figure = dropped(marks(values))
    assert "33 % of all tokens" in subtitle(figure)
    assert figure.layout.yaxis.ticktext[0].replace("\u00a0", " ") == "0 · 50 %"


@pytest.mark.parametrize(("view", "name"), [(flips, "flips"), (dropped, "dropped")])
def test_anything_but_nought_and_one_is_refused(view, name):
    with pytest.raises(LabError, match=f"{name} needs 1"):
        view(marks(np.full((2, 5), 0.5)))
    with pytest.raises(LabError, match="start is 9"):
        view(marks(np.ones((2, 5))), start=9)


def test_shares_beyond_one_are_refused():
    with pytest.raises(LabError, match="flips needs shares of tokens from 0 to 1"):
        flips(xr.DataArray(np.full((3, 2), 12.0), dims=("step", "layer")))
