"""The pairs that cost least, beside trying all permutations and beside scipy."""

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from labkit.parts.assignment import best_assignment


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_no_permutation_costs_less(size):
    cost = np.random.default_rng(size).normal(size=(size, size))
    rows = np.arange(size)
    least = min(cost[rows, list(columns)].sum() for columns in permutations(range(size)))
    assert cost[rows, best_assignment(cost)].sum() == pytest.approx(least)


@pytest.mark.parametrize("size", [17, 64])
def test_equals_scipy_on_large_and_tied_costs(size):
    draws = np.random.default_rng(size)
    for cost in (draws.normal(size=(size, size)), draws.integers(0, 4, (size, size)).astype(float)):
        rows, columns = linear_sum_assignment(cost)
        found = best_assignment(cost)
        assert sorted(found) == list(range(size))
        assert cost[np.arange(size), found].sum() == pytest.approx(cost[rows, columns].sum())


def test_finds_a_planted_renumbering():
    names = np.random.default_rng(0).permutation(12)
    cost = np.ones((12, 12))
    cost[np.arange(12), names] = 0
    assert (best_assignment(cost) == names).all()
