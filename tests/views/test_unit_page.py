"""The page of one unit: the right images, the right effects."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.mosaic import GAP, GREYS, Mosaic
from labkit.views.theme import alt_text
from labkit.views.unit_page import unit_page


def given(**more) -> dict:
    """Three strongest inputs, 7, 2 and 5, of ten images whose pixels are the number of the image."""
    strongest = xr.DataArray(
        [3.0, 2.0, 1.0], dims="rank", coords={"input": ("rank", [7, 2, 5]), "unit": 4, "layer": "mlp"}
    )
    images = xr.DataArray(np.arange(10.0)[:, None, None] * np.ones((10, 4, 4)), dims=("input", "rows", "columns"))
    return {"strongest": strongest, "images": images, **more}


def test_the_images_are_those_of_the_strongest_inputs_in_their_order():
    figure = unit_page(**given())
    picture = figure.data[0].z
    tiles = Mosaic(3, 8, 4, 4, 1, 2)
    found = [picture[tiles.corner(place)] for place in range(3)]
    assert found == [round(one * GREYS / 7) for one in (7, 2, 5)]
    assert picture[-1, -1] == GAP
    assert list(figure.data[1].text) == ["3", "2", "1"]
    assert figure.layout.title.text == "Unit 4 of mlp: what it answers to"


def test_an_input_without_image_and_an_empty_rank_are_left_out():
    parts = given()
    parts["images"] = parts["images"].assign_coords(input=np.arange(10)).isel(input=[2, 5])
    assert list(unit_page(**parts).data[1].text) == ["2", "1"]
    parts = given()
    parts["strongest"][1] = np.nan
    assert list(unit_page(**parts).data[1].text) == ["3", "1"]


def test_the_density_of_single_values_and_of_bins_is_drawn():
    values = xr.DataArray([0.0, 0.0, 0.0, 6.0], dims="input")
    figure = unit_page(**given(density=values))
    assert figure.data[2].y[0] == 75
    assert "active for 25\u00a0% of 4 inputs, 1.5 on average" in figure.layout.title.subtitle.text
    bins = xr.DataArray([0.4, 0.6], dims="bin", coords={"bin": [0.5, 1.5]}, attrs={"zeros": 0.3, "rows": 50})
    figure = unit_page(**given(density=bins))
    np.testing.assert_allclose(figure.data[2].y, [40, 60], rtol=1e-6)
    assert "exactly zero at 30\u00a0% of 50 inputs" in figure.layout.title.subtitle.text


def test_the_effect_of_this_unit_stands_among_those_of_the_others():
    effect = xr.DataArray(
        [[0.1, 0.9, np.nan], [0.2, 0.3, 0.4]],
        dims=("quantity", "unit"),
        coords={"quantity": ["loss", "output"], "unit": [3, 4, 8]},
    )
    figure = unit_page(**given(effect=effect))
    own = {trace.name: list(trace.x) for trace in figure.data if str(trace.name).endswith("this unit")}
    assert own == {"loss, this unit": [0.9], "output, this unit": [0.3]}
    others = {trace.name: sorted(trace.x) for trace in figure.data if str(trace.name).endswith("other units")}
    assert [len(one) for one in others.values()] == [1, 2], "a unit that was not measured is no dot"
    assert "loss by +0.9, more than for any other unit" in alt_text(figure)
    assert "output by +0.3, more than for 50\u00a0% of the other units" in alt_text(figure)


def test_a_quantity_that_was_not_measured_is_left_out():
    effect = xr.DataArray([np.nan, 0.3], dims="quantity", coords={"quantity": ["loss", "output"]})
    figure = unit_page(**given(effect=effect))
    assert [trace.name for trace in figure.data[2:]] == ["output, this unit"]


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"strongest": xr.DataArray([1.0], dims="rank")}, "coordinate input"),
        ({"strongest": xr.DataArray([1.0], dims="rank", coords={"input": ("rank", [99])})}, "no image of any"),
        (
            {"effect": xr.DataArray([[0.1]], dims=("quantity", "unit"), coords={"quantity": ["loss"], "unit": [9]})},
            "4 is not among them",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(more, hint):
    if "effect" in more:
        more["effect"] = xr.concat([more["effect"], more["effect"].assign_coords(unit=[10])], "unit")
    with pytest.raises(LabError, match=hint):
        unit_page(**given(**more))
