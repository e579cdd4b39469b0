"""Similarity of layers: one scale for all data."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.similarity import similarity
from labkit.views.theme import alt_text


def table(*shape: int, **coords) -> xr.DataArray:
    values = np.random.default_rng(0).uniform(0.3, 0.6, shape)
    return xr.DataArray(values, dims=("step", "layer", "other")[-len(shape) :], coords=coords)


def test_the_scale_is_from_zero_to_one_whatever_the_data():
    figure = similarity(table(3, 3))
    assert (figure.data[0].zmin, figure.data[0].zmax) == (0, 1)


def test_few_layers_carry_their_numbers_and_many_do_not():
    data = table(3, 3)
    assert figure_text(similarity(data)) == [[f"{cell:.2f}" for cell in row] for row in data.values]
    assert similarity(table(20, 20)).data[0].text is None


def figure_text(figure) -> list:
    return [list(row) for row in figure.data[0].text]


def test_a_layer_with_itself_is_not_called_alike():
    names = ["a", "b", "c"]
    data = table(3, 3, layer=names, other=names)
    data.values[:] = [[1, 0.2, 0.7], [0.2, 1, 0.4], [0.7, 0.4, 1]]
    assert "most alike are a and c (0.7), least a and b (0.2)" in alt_text(similarity(data))


def test_two_models_may_stand_on_the_axes():
    data = table(2, 3, layer=["a", "b"], other=["a", "x", "y"])
    data.values[:] = [[0.9, 0.2, 0.3], [0.4, 0.5, 0.6]]
    figure = similarity(data)
    assert "most alike are a and a (0.9)" in alt_text(figure), "the same name in two models is not the same layer"
    assert values_of(figure.data[0].z).shape == (2, 3)


def test_steps_are_on_a_slider_with_their_numbers():
    data = table(4, 2, 2)
    figure = similarity(data)
    assert len(figure.frames) == 4
    np.testing.assert_allclose(values_of(figure.frames[1].data[0].z), data.values[1], rtol=1e-6)
    assert figure.frames[1].data[0].text[0][0] == f"{data.values[1, 0, 0]:.2f}"


def test_a_missing_pair_stays_empty():
    data = table(3, 3)
    data[1, 2] = np.nan
    assert similarity(data).data[0].text[1][2] == ""


@pytest.mark.parametrize("value", [1.2, -0.8])
def test_what_is_no_similarity_is_refused(value):
    data = table(2, 2)
    data[0, 1] = value
    with pytest.raises(LabError, match="from 0 to 1"):
        similarity(data)


def test_of_two_layers_the_one_number_is_said_once():
    data = table(2, 2, layer=["a", "b"], other=["a", "b"])
    data.values[:] = [[1, 0.4], [0.4, 1]]
    assert similarity(data).layout.title.subtitle.text == "A and b: 0.4"
