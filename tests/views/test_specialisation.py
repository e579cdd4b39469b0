"""Specialisation: against chance, honest about shuffled labels, large tables put together without losing anything."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.specialisation import example, specialisation
from labkit.views.theme import alt_text


def table(layers: int, choices: int, classes: int) -> xr.DataArray:
    values = np.random.default_rng(0).dirichlet(np.full(choices * classes, 2.0), layers)
    coords = {
        "layer": [f"layers.{at}" for at in range(layers)],
        "choice": ("choice", np.arange(choices), {"long_name": "expert"}),
        "class": [f"class {at}" for at in range(classes)],
    }
    shaped = values.reshape(layers, choices, classes)
    return xr.DataArray(shaped, dims=("layer", "choice", "class"), coords=coords)


def bits(*rows: tuple[float, float, float]) -> xr.DataArray:
    against = ["labels", "shuffled", "shuffled high"]
    layers = [f"layers.{at}" for at in range(len(rows))]
    return xr.DataArray(np.array(rows), dims=("layer", "against"), coords={"layer": layers, "against": against})


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_a_cell_says_how_often_against_chance():
    data = table(1, 4, 3)
    joint = data.values[0].T
    chance = joint.sum(0) * joint.sum(1, keepdims=True)
    cells = values_of(specialisation(data).data[0].z)
    np.testing.assert_array_equal(cells, np.round(100 * joint / chance))
    assert specialisation(data).data[0].zmid == 100


def test_experts_that_do_not_care_are_at_chance_everywhere():
    data = table(1, 4, 3)
    data[0] = np.outer([0.1, 0.2, 0.3, 0.4], [0.5, 0.3, 0.2])
    np.testing.assert_array_equal(values_of(specialisation(data).data[0].z), np.full((3, 4), 100))


def test_no_more_than_chance_is_said_in_the_title():
    figure = specialisation(table(2, 4, 3), bits((0.02, 0.02, 0.03), (0.01, 0.02, 0.03)))
    assert figure.layout.title.text == "The experts do not specialise"
    assert "no more than chance: at most 0.020 bits, shuffled labels give 0.020 in layer 0" in subtitle(figure).lower()
    mark = next(trace for trace in figure.data if trace.name == "information about the class (bits)")
    assert list(mark.marker.symbol) == ["x", "x"]


def test_one_layer_above_the_shuffles_is_told_from_one_below():
    figure = specialisation(table(2, 4, 3), bits((0.50, 0.02, 0.03), (0.025, 0.02, 0.03)))
    mark = next(trace for trace in figure.data if trace.name == "information about the class (bits)")
    assert list(mark.marker.symbol) == ["diamond", "x"], "above the mean of the shuffles is not enough"
    assert "in 1 of 2 layers, at most in layer 0 with 0.500 bits" in subtitle(figure)
    assert figure.layout.title.text == "What the experts specialise in"


def test_without_shuffles_nothing_is_claimed():
    figure = specialisation(table(2, 4, 3))
    assert figure.layout.title.text == "Which classes each expert gets"
    assert "nobody can say whether that is more than chance" in subtitle(figure)


def test_layers_are_matched_by_name():
    told = bits((0.5, 0.02, 0.03), (0.1, 0.02, 0.03)).isel(layer=[1, 0])
    mark = specialisation(table(2, 4, 3), told).data[2]
    np.testing.assert_allclose(values_of(mark.x), [0.5, 0.1], rtol=1e-6)


def test_many_classes_and_experts_are_put_together():
    data = table(1, 256, 100)
    figure = specialisation(data)
    cells = values_of(figure.data[0].z)
    assert cells.shape == (40, 128)
    assert figure.data[0].dx == 2
    assert "the 39 most frequent of 100 classes" in subtitle(figure)
    assert list(figure.data[0].y)[-1] == "61 other classes"
    joint = data.values[0].T.reshape(100, 128, 2).sum(2)
    rest = joint[np.argsort(-joint.sum(1))[39:]].sum(0)
    np.testing.assert_array_equal(cells[-1], np.round(100 * rest / (rest.sum() * joint.sum(0))))


def test_a_class_that_never_occurs_is_empty():
    data = table(1, 4, 3)
    data[0, :, 1] = 0
    assert np.isnan(values_of(specialisation(data).data[0].z)[1]).all()


def test_a_slider_goes_through_the_layers():
    data = table(5, 4, 3)
    figure = specialisation(data)
    assert len(figure.frames) == 5
    one = specialisation(data.isel(layer=[2]))
    np.testing.assert_array_equal(values_of(figure.frames[2].data[0].z), values_of(one.data[0].z))


def test_the_strongest_cell_is_told():
    text = alt_text(specialisation(**example(0)))
    assert "bits, shuffled labels give" in text
    assert "times as often as by chance" in text


def test_other_controls_and_negative_shares_are_refused():
    with pytest.raises(LabError, match="specialisation needs information against labels, shuffled, shuffled high"):
        specialisation(table(2, 4, 3), bits((1, 0, 0), (1, 0, 0)).assign_coords(against=["a", "b", "c"]))
    with pytest.raises(LabError, match="specialisation needs shares"):
        specialisation(table(2, 4, 3) - 1)
    with pytest.raises(LabError, match="information of the same layers"):
        specialisation(table(3, 4, 3), bits((1, 0, 0), (1, 0, 0)))
