"""Patterns of zeros and the map of one mask."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.theme import alt_text
from labkit.views.weight_mask import weight_mask
from labkit.views.weight_pattern import example, weight_pattern


def patterns(rows: int = 2) -> xr.DataArray:
    values = np.tile([0.5, 1.0, np.nan], (rows, 1))
    coords = {
        "parameter": [f"layers.{at}.weight" for at in range(rows)],
        "pattern": ["zeros", "2:4", "empty rows"],
        "usable": ("parameter", ["2:4 tensor cores", *["nothing"] * (rows - 1)]),
        "size": ("parameter", [3000, *[1000] * (rows - 1)]),
    }
    return xr.DataArray(values, dims=("parameter", "pattern"), coords=coords)


def test_few_weights_carry_their_shares_and_what_does_not_fit_a_dash():
    figure = weight_pattern(patterns())
    assert [list(row) for row in figure.data[0].text] == [["50", "100", "–"]] * 2
    assert weight_pattern(patterns(80)).data[0].text is None


def test_what_a_kernel_can_use_is_counted_and_on_hover():
    figure = weight_pattern(patterns())
    assert "a kernel can use 1 of 2 weight matrices" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert figure.data[0].hovertext[0][0] == "<br>3,000 weights; of use for: 2:4 tensor cores"
    assert "layers.0.weight (2:4 tensor cores)" in alt_text(figure)


def test_the_share_of_all_zeros_weighs_each_matrix_by_its_size():
    data = patterns()
    data[1, 0] = 0.1
    assert "40\u00a0% of all weights are zero" in weight_pattern(data).layout.title.subtitle.text


def test_the_example_was_pruned_as_it_says():
    found = example(0)["data"]
    assert found.sel(parameter="hidden 1.weight", pattern="zeros") == pytest.approx(0.8, abs=0.01)
    assert found.sel(parameter="hidden 2.weight", pattern="2:4") == 1
    assert found.sel(parameter="scores.weight", pattern="empty columns") == 0.5


def test_what_is_no_share_is_refused():
    with pytest.raises(LabError, match="from 0 to 1"):
        weight_pattern(patterns() * 3)


def weight(*shape: int) -> xr.DataArray:
    return xr.DataArray(np.random.default_rng(0).normal(size=shape), dims=("output", "input"), name="mlp.weight")


def test_a_small_mask_is_drawn_weight_by_weight():
    data = weight(4, 6)
    data[1, 2] = 0
    cells = values_of(weight_mask(data).data[0].z)
    assert cells.shape == (4, 6)
    assert np.argwhere(cells == 0).tolist() == [[1, 2]]
    assert set(cells.ravel().tolist()) == {0, 100}


def test_one_empty_row_among_thousands_is_seen_in_the_bar():
    data = weight(2000, 100)
    data[777] = 0
    figure = weight_mask(data)
    bar = next(trace for trace in figure.data if trace.name == "left by output")
    assert values_of(bar.x)[777 // 8] == 0
    assert "1 output and 0 inputs have none" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_a_missing_weight_counts_as_zero_and_all_zeros_are_drawn():
    data = weight(3, 3) * 0
    assert "0\u00a0% of 9 weights are not zero" in alt_text(weight_mask(data))
