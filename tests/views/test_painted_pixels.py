"""Images beside their maps: the outline runs where the map is strong."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.mosaic import GAP, Mosaic, grey, greys, smaller
from labkit.views.painted_pixels import painted_pixels
from labkit.views.theme import DARK, LIGHT


def pictures(count: int = 2, image: int = 8, field: int = 4) -> tuple[xr.DataArray, xr.DataArray]:
    """Grey images, and maps with one strong cell in the second row, third column."""
    maps = np.full((count, field, field), 0.1)
    maps[:, 1, 2] = 2
    dims = ("input", "rows", "columns")
    values = np.random.default_rng(0).random((count, image, image))
    return xr.DataArray(values, dims=dims), xr.DataArray(maps, dims=dims)


def test_the_outline_runs_around_the_strong_cell_on_the_image():
    figure = painted_pixels(*pictures(1))
    line = next(trace for trace in figure.data if trace.name == "outline")
    x, y = (values_of(one)[np.isfinite(values_of(one))] for one in (line.x, line.y))
    assert (x.min(), x.max(), y.min(), y.max()) == (3.5, 5.5, 1.5, 3.5)
    assert len(x) == 8, "four sides"


def test_a_coarse_map_covers_the_same_place_as_its_image():
    figure = painted_pixels(*pictures(1))
    field = next(trace for trace in figure.data if str(trace.name).startswith("map of"))
    left, right = field.x0 - field.dx / 2, field.x0 + field.dx * 3.5
    assert right - left == 8
    assert (field.y0 - field.dy / 2, field.y0 + field.dy * 3.5) == (-0.5, 7.5)
    assert values_of(field.z).shape == (4, 4)


def test_all_maps_share_one_scale_with_zero_in_the_middle():
    images, maps = pictures(3)
    maps[1, 0, 0] = -5
    scales = {(one.zmin, one.zmax) for one in painted_pixels(images, maps).data if str(one.name).startswith("map of")}
    assert scales == {(-5, 5)}


def test_a_map_that_is_strong_everywhere_at_random_has_no_outline():
    images, maps = pictures(1, 64, 28)
    maps[:] = np.random.default_rng(0).choice([0.0, 1.0], maps.shape)
    line = next(trace for trace in painted_pixels(images, maps).data if trace.name == "outline")
    assert not len(line.x)


def test_nine_pairs_are_shown_and_the_rest_is_told():
    figure = painted_pixels(*pictures(12))
    assert sum(str(one.name).startswith("map of") for one in figure.data) == 9
    assert "9 of 12 images" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_a_map_for_each_image_and_a_sensible_outline_are_needed():
    images, maps = pictures()
    with pytest.raises(LabError, match="2 images and 1 maps"):
        painted_pixels(images, maps[:1])
    with pytest.raises(LabError, match="got 0"):
        painted_pixels(images, maps, outline=0)


def test_greys_run_from_the_darkest_to_the_brightest_on_both_themes():
    assert grey(np.array([[[0.0, 0.5, 1.0]]])).tolist() == [[[0, 125, 250]]]
    assert grey(np.array([[[-1.0, 1.0]]])).tolist() == [[[0, 250]]]
    for colors in (LIGHT, DARK):
        low, high = greys(colors)[0][1], greys(colors)[1][1]
        assert int(low[1:3], 16) < int(high[1:3], 16)


def test_large_images_are_averaged_and_the_mosaic_keeps_them_apart():
    small, size = smaller(np.ones((2, 100, 200)))
    assert small.shape == (2, 20, 40)
    assert size == 5
    tiles = Mosaic(5, 3, 2, 2, 1, 1)
    picture = tiles.laid(np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 2), np.uint8), GAP)
    assert picture.shape == tiles.size == (7, 8)
    assert tiles.corner(3) == (4, 0), "below the first row, its words and a gap"
    assert [picture[tiles.corner(place)] for place in range(5)] == [0, 1, 2, 3, 4]
    assert (picture[:, 2] == GAP).all()
