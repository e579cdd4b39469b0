"""A token sent elsewhere: bars from the router's own choice, better and worse, with and without labels."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.forced_choice import example, forced_choice
from labkit.views.theme import LIGHT, alt_text


def change(loss: list, output: list, taken: int | None = 1) -> xr.DataArray:
    coords: dict = {
        "choice": ("choice", np.arange(len(loss)), {"long_name": "expert"}),
        "quantity": ["loss", "output"],
        "unit": ("quantity", ["nats", "length"]),
    }
    if taken is not None:
        coords["taken"] = ("choice", np.arange(len(loss)) == taken)
    values = np.stack([np.array(loss, float), np.array(output, float)], 1)
    attrs = {"layer": "layers.0", "token": 30}
    return xr.DataArray(values, dims=("choice", "quantity"), coords=coords, attrs=attrs)


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_the_routers_own_choice_has_a_star_and_better_ones_another_colour():
    figure = forced_choice(change([0.5, 0, -0.2], [2, 0, 1]))
    bars, star = figure.data[0], figure.data[1]
    np.testing.assert_allclose(values_of(bars.y), [0.5, 0, -0.2], rtol=1e-6)
    assert list(bars.marker.color) == [LIGHT.series[1], LIGHT.series[1], LIGHT.series[0]]
    assert (star.marker.symbol, values_of(star.x).tolist(), values_of(star.y).tolist()) == ("star", [1], [0])
    text = subtitle(figure)
    assert "the router chose expert 1" in text
    assert "1 of 2 others would have been better, best 2 (−0.2), worst 0 (+0.5)" in text


def test_a_router_that_chose_best_is_praised():
    assert "no other expert would have been better, best 2 (0.1)" in subtitle(
        forced_choice(change([0.5, 0, 0.1], [1, 0, 2]))
    )


def test_without_labels_there_is_only_the_output():
    figure = forced_choice(change([np.nan] * 3, [2, 0, 1]))
    assert [trace.type for trace in figure.data] == ["bar", "scatter"]
    np.testing.assert_allclose(values_of(figure.data[0].y), [2, 0, 1])
    assert "without labels there is no loss" in subtitle(figure)
    assert "moves most, by 2, with expert 0" in alt_text(figure)


def test_a_choice_that_nobody_noted_is_said_to_be_unknown():
    assert "own choice is not recorded" in subtitle(forced_choice(change([0.5, 0, 0.1], [1, 0, 2], taken=None)))


def test_its_place_is_named():
    text = subtitle(forced_choice(**example(0)))
    assert "in layer layers.0" in text
    assert "“" in text


def test_other_quantities_and_too_many_choices_are_refused():
    with pytest.raises(LabError, match="forced_choice needs the quantities loss and output"):
        forced_choice(change([1, 0], [1, 0]).assign_coords(quantity=["a", "b"]))
    with pytest.raises(LabError, match="at most 256 choices, and found 300"):
        forced_choice(change([1] * 300, [1] * 300))
