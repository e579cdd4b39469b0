"""Thinning: small enough, and nothing that matters lost."""

import numpy as np
import pytest

from labkit.views.thinning import blocks, compact, evenly, peaks


def test_every_peak_of_every_curve_survives():
    random = np.random.default_rng(0)
    rows = random.normal(0, 1, (3, 100_003))
    rows[0, 4_711], rows[1, 99_999], rows[2, 5] = 50, -50, 60
    kept = peaks(rows, 1000)
    assert len(kept) <= 1000
    assert {4_711, 99_999, 5, 0, 100_002} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_each_stretch_keeps_its_lowest_and_highest_point():
    row = np.random.default_rng(1).normal(size=1000)
    kept = set(peaks(row[None], 102).tolist())
    for start in range(0, 1000, 20):
        stretch = row[start : start + 20]
        assert start + stretch.argmin() in kept
        assert start + stretch.argmax() in kept


def test_missing_values_are_no_peaks():
    row = np.full(1000, np.nan)
    row[500] = 1
    kept = peaks(row[None], 40)
    assert 500 in kept
    assert kept.max() <= 999


def test_a_short_curve_is_left_whole():
    assert peaks(np.zeros((2, 7)), 7).tolist() == list(range(7))


@pytest.mark.parametrize(("shape", "limit"), [((10, 10), (3, 4)), ((128, 256), (128, 256)), ((7, 1001), (7, 100))])
def test_block_means_equal_the_obvious_way(shape, limit):
    grid = np.random.default_rng(0).normal(size=shape)
    grid[0, 1] = np.nan if shape != limit else 0
    small, tall, wide = blocks(grid, *limit)
    assert small.shape[0] <= limit[0]
    assert small.shape[1] <= limit[1]
    for row, column in np.ndindex(*small.shape):
        block = grid[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        np.testing.assert_allclose(small[row, column], np.nanmean(block))


def test_a_block_without_any_value_stays_missing():
    grid = np.ones((4, 4))
    grid[:2, :2] = np.nan
    small, _, _ = blocks(grid, 2, 2)
    assert np.isnan(small).tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 255], "uint8"),
        ([0, 256], "uint16"),
        ([-1, 3], "int8"),
        ([-1, 300], "int16"),
        ([0, 1e6], "int32"),
        ([0.5, 1], "float32"),
        ([1, np.nan], "float32"),
        ([0, 1e12], "float64"),
        ([], "uint8"),
    ],
)
def test_numbers_travel_in_the_smallest_type_that_holds_them(values, kind):
    small = compact(np.array(values, dtype=float))
    assert small.dtype == kind
    np.testing.assert_array_equal(small.astype(float), np.array(values, dtype=float))


def test_even_places_hold_both_ends():
    assert evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    some = evenly(1000, 40)
    assert len(some) == 40
    assert some[[0, -1]].tolist() == [0, 999]
    assert np.ptp(np.diff(some)) <= 1
