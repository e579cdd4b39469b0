"""What the routing views share: the word for a choice, colours, short names of layers, texts of tokens."""

import itertools

import numpy as np
import pytest
import xarray as xr
from views.test_theme import SIGHT, oklab

from labkit.views.choices import (
    against_even,
    filled,
    layers_of,
    noun_of,
    one_by_one,
    palette,
    plural,
    rounded,
    texts_of,
)


def array(noun: str | None = None, **attrs: str) -> xr.DataArray:
    said = {"long_name": noun} if noun else {}
    return xr.DataArray([0.5, 0.5], dims="choice", coords={"choice": ("choice", [0, 1], said)}, attrs=attrs)


def test_the_word_comes_from_the_axis_then_from_the_data_then_from_the_view():
    assert noun_of(array("slot", choice="expert"), "leaf") == "slot"
    assert noun_of(array(choice="expert"), "slot") == "expert"
    assert noun_of(array(), "slot") == "slot"
    assert noun_of(array()) == "leaf", "recordings from before the word was written down are of trees"
    assert [plural(noun) for noun in ("leaf", "expert", "branch")] == ["leaves", "experts", "branches"]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("dark", [False, True])
def test_colour_blind_people_tell_twelve_experts_apart(dark: bool, sight: str):
    colors = [oklab(color, sight) for color in palette(dark)]
    assert len(colors) == 12
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(colors, 2)) > 0.055


def test_each_choice_has_one_colour_and_the_thirteenth_has_that_of_the_first():
    scale = one_by_one(14, dark=False)
    assert (scale["zmin"], scale["zmax"]) == (-0.5, 13.5)
    starts = scale["colorscale"][::2]
    assert [color for _, color in starts[:2]] == list(palette(False)[:2])
    assert starts[12][1] == starts[0][1]
    np.testing.assert_allclose([place for place, _ in starts], np.arange(14) / 14)


def test_little_is_not_rounded_to_nothing():
    np.testing.assert_array_equal(rounded(np.array([0.0, 0.0001, 1.004, np.nan])), [0, 1, 100, np.nan])
    assert against_even(False)["zmid"] == 100


def test_layers_are_as_short_as_they_can_be_told_apart():
    data = xr.DataArray(np.ones(2), dims="layer", coords={"layer": ["model.layers.3.mlp<", "model.layers.10.mlp<"]})
    assert layers_of(data) == (["model.layers.3.mlp&lt;", "model.layers.10.mlp&lt;"], ["3", "10"])


def test_layers_without_a_router_and_steps_without_a_look_are_left_out():
    values = np.full((4, 3, 2), np.nan)
    values[1, 0], values[3, 2] = 0.5, [np.nan, 1]
    data = xr.DataArray(values, dims=("step", "layer", "choice"), coords={"step": [1, 5, 9, 13], "layer": list("abc")})
    kept = filled(data)
    assert kept["step"].values.tolist() == [5, 13]
    assert kept["layer"].values.tolist() == ["a", "c"]


def test_tokens_read_as_people_read_them():
    data = xr.DataArray(np.ones(3), dims="token", coords={"text": ("token", ["the", "\n", "a<b"])})
    assert texts_of(data) == ["the", "↵", "a&lt;b"]
    assert texts_of(data.drop_vars("text")) is None
