"""Foretelling: what is there is found in populations that were not fitted, what is not there is not, and many tests cost."""

import numpy as np
import pytest

from labkit.workbench.claim import interval
from labkit.workbench.foretelling import foretold, ranks, widened


def test_finds_what_is_there_and_nothing_where_it_was_dealt_to_others():
    draw = np.random.default_rng(0)
    known = draw.normal(size=(4, 40, 3))
    right = known[..., 1] + 0.1 * draw.normal(size=(4, 40))
    assert (foretold(known, right) > 0.95).all()
    assert (foretold(known, right, deals=5) < 0.1).all()
    assert (foretold(known[..., :1], right) < 0.2).all()


def test_a_population_is_not_foretold_from_itself():
    known = np.random.default_rng(1).normal(size=(2, 40, 1))
    right = known[..., 0] * np.array([[1.0], [-1.0]])
    assert (foretold(known, right) < 0).all()


def test_a_correlation_with_what_is_always_the_same_is_none():
    assert ranks(np.arange(4), np.ones(4)) == 0
    assert ranks(np.arange(4), np.arange(4) ** 3) == 1


def test_an_interval_for_many_tests_is_wider_around_the_same_mean():
    values = np.array([0.1, 0.3, 0.2, 0.5])
    mean, low, _ = interval(values)
    same, lower, _ = interval(widened(values, 14))
    assert same == pytest.approx(mean)
    assert lower < low
    assert np.allclose(widened(values, 1), values)
    assert interval(widened(values, 5))[1] == pytest.approx(interval(values, 0.99)[1])
