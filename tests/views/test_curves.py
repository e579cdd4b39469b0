"""Curves: the interval is right, missing values are honest, names never collide."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.curves import curves, summarised
from labkit.views.theme import alt_text


def recording(values, **coords) -> xr.DataArray:
    dims = ("arm", "seed", "step")[-np.ndim(values) :]
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"long_name": "test accuracy", "units": "fraction"})


def spread(*levels: float) -> xr.DataArray:
    random = np.random.default_rng(0)
    values = np.array(levels)[:, None, None] + random.normal(0, 0.01, (len(levels), 5, 30))
    return recording(values, arm=[f"arm {place}" for place in range(len(levels))])


def means(figure) -> list:
    return [trace for trace in figure.data if trace.line.width == 3]


def test_the_band_is_students_interval_of_the_mean():
    runs = np.random.default_rng(0).normal(size=(5, 4))
    line = summarised("a", runs)
    low, high = stats.t.interval(0.95, 4, runs.mean(0), stats.sem(runs))
    np.testing.assert_allclose(line.mean - line.half, low)
    np.testing.assert_allclose(line.mean + line.half, high)


def test_where_seeds_are_missing_the_interval_is_that_of_the_others():
    runs = np.random.default_rng(0).normal(size=(5, 3))
    runs[2:, 1] = np.nan
    runs[1:, 2] = np.nan
    line = summarised("a", runs)
    low, _ = stats.t.interval(0.95, 1, runs[:2, 1].mean(), stats.sem(runs[:2, 1]))
    assert line.mean[1] - line.half[1] == pytest.approx(low)
    assert line.mean[2] == runs[0, 2]
    assert np.isnan(line.half[2])


def test_one_seed_has_no_band_and_says_so():
    figure = curves(recording(np.linspace(0, 1, 20)[None]))
    assert len(figure.data) == 1
    assert "1 seed" in figure.layout.title.subtitle.text
    assert "1 seed" in alt_text(figure)


def test_the_axis_holds_the_bands_but_is_not_squashed_by_them():
    data = recording(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0], [0.0, 0.5, 0.9]]))
    low, high = curves(data).layout.yaxis.range
    band = values_of(next(trace.y for trace in curves(data).data if trace.name == "upper"))
    assert low < 0
    assert band.max() < high
    few = recording(np.array([[0.0, 1.0], [0.1, 0.0]]))
    assert curves(few).layout.yaxis.range[1] < 1.7, "two seeds have an interval of several times the spread"


def test_hover_names_the_seed():
    figure = curves(spread(0.2, 0.8))
    names = [trace.name for trace in figure.data]
    assert "arm 1, seed 3" in names
    assert sum("seed" in name for name in names) == 10


def test_names_stand_at_the_ends_of_lines_that_lie_apart():
    figure = curves(spread(0.2, 0.8))
    assert [note.text.split("<")[1] for note in figure.layout.annotations] == ["b>arm 0", "b>arm 1"]
    assert figure.layout.showlegend is False
    assert figure.layout.margin.r > 60


def test_names_go_into_a_legend_where_lines_end_together():
    figure = curves(spread(0.5, 0.501))
    assert not figure.layout.annotations
    assert [trace.name for trace in figure.data if trace.showlegend] == ["arm 0", "arm 1"]


def test_lines_that_end_at_different_steps_are_named_in_a_legend():
    data = spread(0.2, 0.8)
    data[0, :, 20:] = np.nan
    figure = curves(data)
    assert not figure.layout.annotations
    assert np.isnan(values_of(means(figure)[0].y)[25])


def test_a_single_spike_in_a_million_steps_is_still_there():
    values = np.zeros((3, 200_000), dtype=np.float32)
    values[:, 123_456] = 7
    figure = curves(recording(values))
    assert values_of(means(figure)[0].y).max() == 7
    assert 123_456 in values_of(means(figure)[0].x)
    assert "thinned" in figure.layout.title.subtitle.text


def test_the_sentence_tells_direction_and_winner():
    steps = np.linspace(0, 1, 11)
    data = recording(np.stack([steps[None], 0.5 - 0.4 * steps[None]]), arm=["rising", "falling"])
    text = alt_text(curves(data))
    assert "rising rises from 0.00 to 1.00" in text
    assert "falling falls from 0.50 to 0.10" in text
    assert text.endswith("Rising ends highest.")


def test_names_are_shown_as_they_are_written():
    data = recording(np.random.default_rng(0).random((2, 3, 9)), arm=["a <b>bold</b> name", "x & y"])
    names = {trace.legendgroup: trace.name for trace in means(curves(data))}
    assert names == {"0": "a &lt;b&gt;bold&lt;/b&gt; name", "1": "x &amp; y"}


def test_many_arms_are_limited_and_that_is_said():
    data = recording(np.random.default_rng(0).random((40, 2, 9)), arm=[f"arm {place}" for place in range(40)])
    figure = curves(data)
    assert len(means(figure)) == 12
    assert "first 12 of 40 arms" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_another_axis_is_refused_with_advice():
    data = spread(0.2, 0.8).expand_dims(mode=["soft", "hard"])
    with pytest.raises(LabError, match=r"choose one mode first, for example data\.sel\(mode='hard'\)"):
        curves(data)


def test_names_along_the_axis_are_refused():
    data = xr.DataArray([1.0, 2.0], dims="step", coords={"step": ["a", "b"]})
    with pytest.raises(LabError, match="numbers along step"):
        curves(data)
