"""The handle: what it shows at each level is what was measured there."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.theme import LIGHT, alt_text
from labkit.views.tradeoff import example, tradeoff

METHODS, LEVELS = ["magnitude", "random"], [0.0, 0.5, 0.9]
QUANTITIES = ["active fraction", "loss", "accuracy", "milliseconds", "dense milliseconds"]


def given(**more) -> dict:
    """Values around zero; magnitude loses nothing at half, ten points at nine tenths."""
    density = xr.DataArray(np.full(10, 0.1), dims="bin", coords={"centre": ("bin", np.arange(-4.5, 5))})
    table = np.array(
        [
            [[1, 0.10, 0.95, 0.5, 0.3], [0.5, 0.11, 0.95, 0.25, 0.3], [0.1, 0.4, 0.85, 0.1, 0.3]],
            [[1, 0.10, 0.95, 0.5, 0.3], [0.5, 0.50, 0.60, 0.25, 0.3], [0.1, 2.4, 0.20, 0.1, 0.3]],
        ]
    )
    coords = {"method": METHODS, "level": LEVELS, "quantity": QUANTITIES}
    coords["threshold"] = (("method", "level"), [[0.0, 2.6, 4.1], [np.nan] * 3])
    return {
        "density": density,
        "tradeoff": xr.DataArray(table, dims=("method", "level", "quantity"), coords=coords),
        **more,
    }


def moved(figure, place: int) -> dict:
    return {trace.name: trace for trace in figure.frames[place].data}


def test_every_stop_of_the_slider_is_a_measured_level():
    figure = tradeoff(**given())
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0\u00a0%", "50\u00a0%", "90\u00a0%"]
    assert "3 measured levels, nothing in between" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_the_line_stands_at_the_threshold_on_both_sides_of_zero_and_what_it_silences_is_pale():
    state = moved(tradeoff(**given()), 1)
    assert [one for one in state["threshold"].x if one is not None] == [2.6, 2.6, -2.6, -2.6]
    colors = list(state["activations"].marker.color)
    assert colors == [LIGHT.series[0]] * 2 + [LIGHT.grid] * 6 + [LIGHT.series[0]] * 2


def test_the_table_says_the_numbers_of_every_method_at_that_level():
    state = moved(tradeoff(**given()), 2)["numbers"]
    rows = {y: [t for t, other in zip(state.text, state.y) if other == y] for y in state.y}
    assert rows[0] == [f"<b>{one}</b>" for one in ("threshold 4.1", "accuracy", "active", "ms (dense 0.3)")]
    assert rows[1] == ["magnitude", "85.0\u00a0%", "10.0\u00a0%", "0.1"]
    assert rows[2] == ["random", "20.0\u00a0%", "10.0\u00a0%", "0.1"]


def test_it_opens_at_the_sparsest_level_that_costs_nearly_nothing():
    figure = tradeoff(**given())
    assert figure.layout.sliders[0].active == 1
    assert next(one for one in figure.data if one.name == "this level").x == (50.0, 50.0)
    assert "with 50 % to silence by magnitude, 50 % of the units are active and the accuracy is 95.0 %" in alt_text(
        figure
    ).replace("\u00a0", " ").replace("With 50", "with 50")


def test_the_curves_hold_what_was_measured_and_dense_is_a_line_of_its_own():
    figure = tradeoff(**given())
    lines = {
        (one.name, one.yaxis): values_of(one.y)
        for one in figure.data
        if one.type == "scatter" and one.mode == "lines+markers"
    }
    np.testing.assert_allclose(lines["random", "y2"], [95, 60, 20], rtol=1e-6)
    np.testing.assert_allclose(lines["magnitude", "y4"], [0.5, 0.25, 0.1], rtol=1e-6)
    dense = next(one for one in figure.data if one.name == "dense")
    assert set(dense.y) == {0.3}


def test_the_threshold_is_found_from_the_histogram_where_it_was_not_recorded():
    parts = given()
    parts["tradeoff"] = parts["tradeoff"].drop_vars("threshold")
    line = moved(tradeoff(**parts), 2)["threshold"].x
    assert abs(line[0]) == pytest.approx(4.5), "a tenth of the values lies in the outermost bins"


def test_without_labels_the_loss_is_drawn_and_without_times_no_time():
    parts = given()
    parts["tradeoff"] = parts["tradeoff"].copy()
    parts["tradeoff"].loc[{"quantity": ["accuracy", "milliseconds", "dense milliseconds"]}] = np.nan
    figure = tradeoff(**parts)
    heads = " ".join(str(note.text) for note in figure.layout.annotations)
    assert "Loss" in heads
    assert "time" not in heads


def test_a_slower_kernel_is_called_slower():
    parts = given()
    parts["tradeoff"] = parts["tradeoff"].copy()
    parts["tradeoff"].loc[{"quantity": "milliseconds"}] = 0.6
    assert "measured slower than dense" in alt_text(tradeoff(**parts))
    assert "1.2 times as fast as dense" in alt_text(tradeoff(**given()))


def test_quantities_that_say_nothing_are_refused():
    parts = given()
    parts["tradeoff"] = parts["tradeoff"].sel(quantity=["milliseconds"])
    with pytest.raises(LabError, match="active fraction and accuracy or loss, and found milliseconds"):
        tradeoff(**parts)


def test_the_example_was_measured():
    table = example(0)["tradeoff"]
    assert (table.sel(quantity="dense milliseconds") > 0).all()
    hard = table.sel(level=0.9, quantity="accuracy")
    assert float(hard.sel({"method": "magnitude"})) > float(hard.sel({"method": "random"})) + 0.1
