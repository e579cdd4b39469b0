"""The map of units: nothing vanishes, whatever the width of a layer."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.theme import alt_text
from labkit.views.unit_map import unit_map


def layers(*rows, steps: int = 0) -> xr.DataArray:
    """Rows of different width as (layer, unit), padded; repeated along a step axis where asked."""
    wide = max(map(len, rows))
    values = np.array([[*row, *[np.nan] * (wide - len(row))] for row in rows], float)
    data = xr.DataArray(
        values, dims=("layer", "unit"), coords={"layer": [f"layer {'abc'[at]}" for at in range(len(rows))]}
    )
    return xr.concat([data * (step + 1) for step in range(steps)], "step") if steps else data


def test_units_stand_in_order_of_their_value_and_each_layer_fills_its_row():
    cells = values_of(unit_map(layers([1, 3, 2, 4], [5, 6])).data[0].z)
    np.testing.assert_array_equal(cells, [[4, 3, 2, 1], [6, 6, 5, 5]])


def test_one_extreme_unit_among_thousands_keeps_its_value():
    row = np.ones(10_000)
    row[7_777] = 3
    figure = unit_map(layers(row))
    cells = values_of(figure.data[0].z)
    assert cells.shape[1] <= 256
    assert cells[0, 0] == 3
    assert figure.data[0].customdata[0, 0, 0] == 7_777, "the hover text names the unit"
    assert unit_map(layers(row), order="index").data[0].z.max() == 3


def test_silent_units_are_counted_at_their_row_and_their_place_is_marked():
    figure = unit_map(layers([0, 2, 0, 1], [1, 2, 3, 4]))
    assert list(figure.layout.yaxis.ticktext) == ["layer a<br>2 of 4 silent", "layer b<br>0 of 4 silent"]
    assert values_of(figure.data[1].x).tolist() == [50]
    assert list(figure.data[1].y) == ["layer a"]
    assert "2 of 8 units silent" in figure.layout.title.subtitle.text


def test_what_counts_as_silent_can_be_said():
    assert "3 of 4 units silent" in unit_map(layers([0.01, 2, 0, -0.02]), silent=0.05).layout.title.subtitle.text


def test_a_cell_of_several_units_says_its_lowest_and_highest():
    row = np.tile(np.arange(100.0), 6)
    figure = unit_map(layers(row), order="index")
    place = 17
    start, end = place * 600 // 256, (place + 1) * 600 // 256
    cell = figure.data[0].customdata[0, place]
    assert (cell[1], cell[2]) == (row[start:end].min(), row[start:end].max())
    assert cell[0] == start + row[start:end].argmax()


def test_by_index_units_stay_in_place_and_rows_end_where_the_layer_ends():
    figure = unit_map(layers([1, 3, 2], [5]), order="index")
    np.testing.assert_array_equal(values_of(figure.data[0].z), [[1, 3, 2], [5, np.nan, np.nan]])
    assert figure.layout.meta["axes"] == {"x": "unit", "y": "layer"}
    assert "x" not in unit_map(layers([1, 3, 2])).layout.meta["axes"], "sorted units have no place on the axis"


def test_values_of_both_signs_show_the_one_farthest_from_zero():
    row = np.tile([0.1, -5.0], 300)
    cells = values_of(unit_map(layers(row), order="index").data[0].z)
    assert cells.min() == -5
    assert not len(unit_map(layers(row)).data[1].y), "no place where silence begins, as values go on below zero"


def test_the_colours_are_not_spoilt_by_a_single_huge_unit():
    figure = unit_map(layers([*np.linspace(0, 1, 200), 900.0]))
    assert figure.data[0].zmax < 2
    assert "single units reach 900" in figure.layout.title.subtitle.text
    assert "single units" not in unit_map(layers(np.linspace(0, 1, 200))).layout.title.subtitle.text


def test_every_step_of_the_slider_has_its_own_silent_units():
    data = layers([1, 2, 3, 4], steps=3)
    data[0, 0, 0] = 0
    figure = unit_map(data)
    assert len(figure.frames) == 3
    assert figure.frames[0].layout.yaxis.ticktext == ("layer a<br>1 of 4 silent",)
    assert figure.frames[2].layout.yaxis.ticktext == ("layer a<br>0 of 4 silent",)
    assert values_of(figure.frames[2].data[0].z)[0, 0] == 12


def test_the_sentence_names_the_highest_unit_and_the_quietest_layer():
    text = alt_text(unit_map(layers([0, 2, 0, 9], [1, 2, 3, 4])))
    assert "the highest is 9 at unit 3 of layer a" in text
    assert "most of them in layer a, 50\u00a0% of its units" in text


def test_another_order_is_refused():
    with pytest.raises(LabError, match="order is 'random'"):
        unit_map(layers([1, 2]), order="random")  # type: ignore[arg-type]
