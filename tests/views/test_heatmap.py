"""Heat maps: block means, one or two directions, names, steps."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.heatmap import heatmap
from labkit.views.theme import LIGHT, alt_text


def grid(*shape: int, dims: tuple = ("expert", "token"), **coords) -> xr.DataArray:
    values = np.random.default_rng(0).random(shape)
    return xr.DataArray(values, dims=dims[-len(shape) :] if len(shape) < 3 else dims, coords=coords)


def test_a_small_table_is_drawn_cell_by_cell():
    data = grid(3, 5)
    figure = heatmap(data)
    np.testing.assert_allclose(values_of(figure.data[0].z), data.values, rtol=1e-6)
    assert figure.layout.title.subtitle.text == "3 x 5 values"


def test_a_large_table_is_averaged_and_that_is_said():
    data = grid(256, 1024)
    figure = heatmap(data)
    expected = data.values.reshape(128, 2, 256, 4).mean((1, 3))
    np.testing.assert_allclose(values_of(figure.data[0].z), expected, rtol=1e-5)
    assert "each cell the mean of 2 x 4 of them" in figure.layout.title.subtitle.text
    assert "mean of the block" in figure.data[0].hovertemplate


def test_values_of_both_signs_have_zero_in_the_middle():
    figure = heatmap(grid(3, 5) - 0.3)
    assert figure.data[0].zmin == -figure.data[0].zmax
    assert figure.data[0].colorscale[0][1] == LIGHT.diverging[0]
    assert heatmap(grid(3, 5)).data[0].colorscale[0][1] == LIGHT.sequential[0]


def test_names_and_numbers_of_the_axes_are_kept():
    data = grid(3, 40, expert=["a", "b <c>", "a"], token=np.arange(40) * 10)
    figure = heatmap(data)
    assert list(figure.data[0].y) == ["a", "b &lt;c&gt;", "a (2)"]
    assert list(figure.layout.xaxis.tickvals) == [str(at * 10) for at in range(0, 40, 5)]


def test_steps_become_a_slider_and_few_experts_stay_apart():
    data = grid(100, 8, 500, dims=("step", "expert", "token"))
    figure = heatmap(data)
    assert len(figure.frames) == 24
    assert values_of(figure.data[0].z).shape[0] == 8
    np.testing.assert_array_equal(values_of(figure.frames[-1].data[0].z), values_of(figure.data[0].z))
    assert "24 of 100 steps" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_missing_values_stay_empty():
    data = grid(3, 5)
    data[1, 2] = np.nan
    data[0, 0] = np.inf
    cells = values_of(heatmap(data).data[0].z)
    assert np.isnan(cells[1, 2])
    assert np.isnan(cells[0, 0])
    assert np.isfinite(cells).sum() == 13


def test_a_table_of_one_value_is_drawn():
    assert heatmap(xr.DataArray([[2.0, 2.0]], dims=("a", "b"))).data[0].zmax == 3


def test_the_sentence_says_where_the_extremes_are():
    data = xr.DataArray([[0.0, 4.0], [1.0, 3.0]], dims=("expert", "token"), coords={"expert": ["first", "second"]})
    assert "the mean is 2.00, highest is 4.00 at first, token 1, lowest is 0.00 at first, token 0" in alt_text(
        heatmap(data)
    )


@pytest.mark.parametrize("dims", [("expert",), ("expert", "token", "unit"), ("step", "expert")])
def test_what_is_no_table_is_refused_or_drawn(dims):
    data = xr.DataArray(np.ones((2, 3, 4)[: len(dims)]), dims=dims)
    if len(dims) == 2:
        assert heatmap(data).data
    else:
        with pytest.raises(LabError, match="two axes"):
            heatmap(data)
