"""The table of a figure's numbers."""

import numpy as np
import plotly.io
import xarray as xr

from labkit.views.alternative import table, values_of
from labkit.views.curves import curves
from labkit.views.heatmap import heatmap


def test_a_line_is_told_with_both_ends():
    data = xr.DataArray(np.linspace(0, 1, 100), dims="step", attrs={"long_name": "accuracy", "units": "fraction"})
    text = table(curves(data))
    assert '<th scope="row">mean: Training step</th><th>0</th>' in text
    assert "<th>99</th></tr>" in text
    assert "mean: Accuracy (fraction)</th><td>0</td>" in text
    assert text.count("<td>") == 12


def test_single_seeds_and_bands_are_left_out():
    data = xr.DataArray(np.random.default_rng(0).random((2, 4, 9)), dims=("arm", "seed", "step"))
    text = table(curves(data))
    assert text.count("<tr>") == 4
    assert "seed" not in text.split("</caption>")[1]


def test_a_heat_map_is_told_row_by_row():
    text = table(heatmap(xr.DataArray([[1.0, 2.0], [3.0, -4.5]], dims=("a", "b"))))
    assert '<tr><th scope="row">row 1</th><td>3</td><td>−4.5</td></tr>' in text


def test_rows_and_columns_have_their_names_where_they_have_any():
    data = xr.DataArray([[1.0, 2.0]], dims=("layer", "token"), coords={"layer": ["mlp.0"], "token": [5, 6]})
    text = table(heatmap(data))
    assert '<tr><th scope="row">mlp.0</th><td>1</td><td>2</td></tr>' in text
    assert "<th>column 0</th><th>column 1</th>" in text


def test_arrays_read_the_same_after_json():
    figure = curves(xr.DataArray(np.linspace(0, 1, 50), dims="step"))
    back = plotly.io.from_json(figure.to_json())
    np.testing.assert_array_equal(values_of(back.data[0].y), figure.data[0].y)


def test_names_are_escaped():
    data = xr.DataArray([[0.1, 0.2], [0.8, 0.9]], dims=("arm", "step"), coords={"arm": ["<script>", "b"]})
    assert "<script>" not in table(curves(data))
