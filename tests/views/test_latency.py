"""Latency: medians and quartiles are exact, and a crossover is found where it is."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.latency import crossings, example, latency
from labkit.views.theme import alt_text

WIDTHS = np.array([64, 128, 256, 512, 1024])


def timed(**arms: np.ndarray) -> xr.DataArray:
    times = np.stack([np.repeat(row[:, None], 3, 1) for row in arms.values()])
    coords = {"arm": list(arms), "width": WIDTHS}
    return xr.DataArray(times, dims=("arm", "width", "repeat"), coords=coords)


def test_power_laws_cross_where_algebra_says():
    found = crossings(2e-6 * WIDTHS**0.5, 1e-7 * WIDTHS**1.0, WIDTHS)
    assert len(found) == 1
    width, seconds, faster = found[0]
    assert width == pytest.approx(400)
    assert seconds == pytest.approx(4e-5)
    assert faster


def test_a_missing_median_in_between_does_not_hide_a_crossing():
    mine, other = 2e-6 * WIDTHS**0.5, 1e-7 * WIDTHS**1.0
    mine[3] = np.nan
    assert crossings(mine, other, WIDTHS)[0][0] == pytest.approx(400)


def test_touching_is_not_crossing():
    other = np.ones(5)
    assert crossings(np.array([2.0, 1.0, 2.0, 2.0, 2.0]), other, WIDTHS) == []
    assert len(crossings(np.array([2.0, 1.0, 0.5, 0.5, 0.5]), other, WIDTHS)) == 1


def test_the_crossover_is_marked_and_said():
    figure = latency(timed(dense=1e-7 * WIDTHS**1.0, tree=2e-6 * WIDTHS**0.5))
    ring = next(trace for trace in figure.data if trace.name == "crossover")
    assert ring.x[0] == pytest.approx(400)
    assert "Tree is faster than dense from width 400 on" in figure.layout.title.subtitle.text
    assert "width 400" in alt_text(figure)


def test_without_a_crossover_the_subtitle_says_so():
    figure = latency(timed(dense=1e-6 * WIDTHS, tree=4e-6 * WIDTHS))
    assert all(trace.name != "crossover" for trace in figure.data)
    text = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "No crossover: tree is slower than dense from width 64 to 1,024 (4 times)" in text


def test_whiskers_go_from_quartile_to_quartile():
    repeats = np.random.default_rng(0).lognormal(-7, 0.4, (1, 5, 101))
    figure = latency(xr.DataArray(repeats[0], dims=("width", "repeat"), coords={"width": WIDTHS}))
    low, middle, high = np.quantile(repeats[0], (0.25, 0.5, 0.75), axis=1) * 1e6
    line = figure.data[0]
    np.testing.assert_allclose(values_of(line.y), middle, rtol=1e-5)
    np.testing.assert_allclose(values_of(line.error_y.array), high - middle, rtol=1e-4)
    np.testing.assert_allclose(values_of(line.error_y.arrayminus), middle - low, rtol=1e-4)


def test_missing_repeats_are_left_out():
    data = timed(dense=1e-6 * WIDTHS, tree=3e-6 * WIDTHS).copy()
    data[1, 2] = np.nan
    data[0, :, 0] = np.nan
    figure = latency(data)
    assert np.isnan(values_of(figure.data[1].y)[2])
    np.testing.assert_allclose(values_of(figure.data[0].y), WIDTHS, rtol=1e-5)


def test_the_title_names_the_batch():
    assert latency(**example(0)).layout.title.text == "Time of a forward pass by width, batch of 256"
    batches = example(0)["data"].drop_vars("batch").expand_dims(batch=[1, 256])
    with pytest.raises(LabError, match=r"data\.sel\(batch=256\)"):
        latency(batches)


def test_widths_in_any_order_are_drawn_in_theirs():
    data = example(0)["data"]
    assert latency(data[:, ::-1]).to_json() == latency(data).to_json()


def test_a_baseline_that_is_not_there_is_refused_with_the_arms():
    with pytest.raises(LabError, match="no arm 'dense' to compare with; it has a and b"):
        latency(timed(a=1e-6 * WIDTHS, b=2e-6 * WIDTHS))
    assert latency(timed(a=1e-6 * WIDTHS, b=2e-6 * WIDTHS), baseline=None).data


def test_times_of_zero_are_refused():
    with pytest.raises(LabError, match="greater than 0"):
        latency(timed(dense=0.0 * WIDTHS))


def test_the_baseline_is_drawn_however_many_arms_there_are():
    arms = {f"arm {place}": (place + 1) * 1e-6 * WIDTHS for place in range(20)}
    figure = latency(timed(**arms, dense=1e-6 * WIDTHS))
    assert "dense" in [trace.name for trace in figure.data]
    assert "first 12 of 21 arms" in figure.layout.title.subtitle.text.replace("<br>", " ")
