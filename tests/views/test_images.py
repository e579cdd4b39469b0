"""The two strips of images: grey as recorded, limited, counted."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.images import example, sides
from labkit.views.theme import alt_text


def images(count: int, size: int = 8) -> xr.DataArray:
    values = np.random.default_rng(count).integers(0, 256, (count, size, size), dtype=np.uint8)
    return xr.DataArray(values, dims=("n", "rows", "columns"))


def test_the_images_stand_in_rows_of_six_with_gaps_between():
    left = images(7)
    mosaic = values_of(sides(left, images(3)).data[0].z)
    assert mosaic.shape == (2 * 9 - 1, 6 * 9 - 1)
    np.testing.assert_array_equal(mosaic[:8, :8], (left.values[0] * (250 / 255)).round())
    np.testing.assert_array_equal(mosaic[9:17, :8], (left.values[6] * (250 / 255)).round())
    assert (mosaic[8] == 255).all()
    assert (mosaic[9:, 9:] == 255).all()


def test_labels_carry_the_counts():
    figure = sides(images(4), images(4), counts=(412, 1588), node=5)
    assert figure.layout.title.text == "Node 5 sends 412 of 2,000 inputs left, 1,588 right"
    texts = [note.text.replace("\u00a0", " ") for note in figure.layout.annotations]
    assert texts == [
        "<b>score &lt; 0: goes left</b><br>412 inputs (21 %)",
        "<b>score ≥ 0: goes right</b><br>1,588 inputs (79 %)",
    ]
    assert "4 and 4 of them are shown" in figure.layout.title.subtitle.text


def test_at_most_thirty_six_are_drawn_and_large_ones_averaged():
    figure = sides(images(100, 96), images(1, 96))
    assert "36 and 1 of them are shown; 3 x 3 pixels averaged into one" in figure.layout.title.subtitle.text
    assert "36 images that go left" in alt_text(figure)


def test_one_side_may_be_empty():
    figure = sides(images(0), images(3))
    assert "no input" in [note.text for note in figure.layout.annotations]
    assert "0 left" in alt_text(figure)


def test_both_sides_empty_are_refused():
    with pytest.raises(LabError, match="at least one image"):
        sides(images(0), images(0))


def test_images_of_two_sizes_are_refused():
    with pytest.raises(LabError, match=r"\(8, 8\) and \(9, 9\)"):
        sides(images(2, 8), images(2, 9))


def test_numbers_that_are_no_grey_levels_are_refused():
    with pytest.raises(LabError, match="uint8"):
        sides(images(2).astype(float), images(2))


def test_counts_below_what_is_given_are_refused():
    with pytest.raises(LabError, match="fewer than"):
        sides(images(5), images(5), counts=(1, 2))


def test_the_example_shows_both_sides_of_the_root():
    given = example(0)
    assert sum(given["counts"]) == 500
    assert min(given["counts"]) > 0
