"""Lifetime sparsity: shares of the units that have a value."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.lifetime import lifetime
from labkit.views.theme import alt_text


def units(*rows) -> xr.DataArray:
    wide = max(map(len, rows))
    values = [[*row, *[np.nan] * (wide - len(row))] for row in rows]
    coords = {"layer": [f"l{at}" for at in range(len(rows))]}
    return xr.DataArray(np.array(values, float), dims=("layer", "unit"), coords=coords)


def test_each_layer_is_a_histogram_of_the_units_that_have_a_value():
    figure = lifetime(units([0, 0.5, 0.5, 1], [0.1, np.nan]))
    shares, counts = values_of(figure.data[0].y), values_of(figure.data[0].customdata)
    assert shares.sum() == pytest.approx(100)
    assert (counts[0], counts[12], counts[-1]) == (1, 2, 1)
    assert values_of(figure.data[2].customdata).sum() == 1, "a dead unit has no value"


def test_the_median_is_a_line():
    line = next(one for one in lifetime(units([0, 0.4, 1])).data if one.type == "scatter")
    assert set(line.x) == {0.4}


def test_many_layers_are_rows_with_a_mark_at_the_median():
    figure = lifetime(units(*([0.1 * at, 0.1 * at, 1] for at in range(8))))
    assert figure.data[0].type == "heatmap"
    np.testing.assert_allclose(values_of(figure.data[1].x), 0.1 * np.arange(8), atol=1e-6)
    np.testing.assert_allclose(values_of(figure.data[0].z).sum(1), 100, rtol=1e-5)


def test_the_sentence_says_how_many_units_are_very_choosy():
    assert "l0 has the median 0.5, 25 % of its units above 0.9" in alt_text(lifetime(units([0, 0.5, 0.5, 1]))).replace(
        "\u00a0", " "
    )


def test_what_lies_beyond_zero_and_one_is_refused():
    with pytest.raises(LabError, match="from 0 to 1"):
        lifetime(units([0.5, 1.5]))
