"""Use of memory slots: sorted, against an equal share, with what was measured or taken from the load."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.slot_usage import slot_usage
from labkit.views.theme import alt_text


def load(*rows: list) -> xr.DataArray:
    coords = {"layer": [f"layers.{at}" for at in range(len(rows))]}
    return xr.DataArray(np.array(rows, float), dims=("layer", "choice"), coords=coords)


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ").replace("\u00a0", " ")


def test_slots_are_sorted_and_idle_ones_end_the_curve():
    figure = slot_usage(load([0, 0.1, 0.6, 0.3, 0]))
    assert values_of(figure.data[0].x).tolist() == [1, 2, 3]
    np.testing.assert_allclose(values_of(figure.data[0].y), [3, 1.5, 0.5], rtol=1e-6)
    end = figure.data[1]
    assert values_of(end.x).tolist() == [3]
    assert "2 slots from here on were never read" in end.hovertemplate


def test_used_share_and_divergence_come_from_the_load():
    figure = slot_usage(load([0.5, 0.5, 0, 0]))
    assert "50 % of the slots are used, 0.693 nats from uniform" in subtitle(figure)
    even = slot_usage(load([0.25] * 4))
    assert "100 % of the slots are used, 0 nats from uniform" in subtitle(even)
    assert len(even.data) == 1


def test_what_was_measured_is_told_instead():
    told = xr.DataArray(
        [[0.3, 1.5, 0.04], [0.4, 2.5, 0.25]],
        dims=("layer", "quantity"),
        coords={"layer": ["layers.1", "layers.0"], "quantity": ["used share", "KL from uniform", "collisions"]},
    )
    text = subtitle(slot_usage(load([0.5, 0.5, 0, 0], [1, 0, 0, 0]), told))
    assert "30 % to 40 % of the slots are used; farthest from uniform is layer 0 with 2.5 nats" in text
    assert "two inputs meet with a chance of 25 %" in text


def test_a_million_slots_keep_both_ends():
    values = np.random.default_rng(0).pareto(1.0, 1_000_000)
    figure = slot_usage(load(values))
    x, y = values_of(figure.data[0].x), values_of(figure.data[0].y)
    assert len(x) <= 160
    assert (x[0], x[-1]) == (1, 1_000_000)
    assert y[0] == pytest.approx(values.max() / values.mean(), rel=1e-5)
    assert y[-1] == pytest.approx(values.min() / values.mean(), rel=1e-5)
    assert figure.layout.xaxis.type == "log"


def test_layers_with_fewer_slots_have_their_own_equal_share():
    figure = slot_usage(load([0.25] * 4, [0.5, 0.5, np.nan, np.nan]))
    np.testing.assert_allclose(values_of(figure.data[1].y), [1, 1], rtol=1e-6)


def test_the_sentence_names_the_busiest_tenth():
    assert "the busiest tenth has 91 %" in alt_text(slot_usage(load([10, *[0.1] * 10]))).replace("\u00a0", " ")


def test_more_layers_than_colours_are_thinned_and_that_is_said():
    figure = slot_usage(load(*[[0.2, 0.8]] * 30))
    assert len([trace for trace in figure.data if trace.mode == "lines+markers"]) == 12
    assert "12 of 30 layers are drawn" in subtitle(figure)


def test_other_quantities_are_refused():
    told = xr.DataArray([[1.0]], dims=("layer", "quantity"), coords={"layer": ["layers.0"], "quantity": ["a"]})
    with pytest.raises(LabError, match="slot_usage needs the quantities used share"):
        slot_usage(load([0.5, 0.5]), told)
    with pytest.raises(LabError, match="slot_usage needs shares"):
        slot_usage(load([-0.5, 0.5]))
