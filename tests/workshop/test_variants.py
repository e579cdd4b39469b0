"""Every student has numbers of their own, the same on every machine, and the check knows whose answer it is."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from labkit.errors import LabError
from labkit.workshop.exercise import check
from labkit.workshop.variants import own_answer, variant

DATA = np.random.default_rng(0).normal(0.3, 1, 500)


def mean_of(mine) -> float:
    return float(DATA[mine.rows(500, 100)].mean())


def test_a_name_gives_the_same_numbers_on_every_machine():
    ada = variant("Ada")
    assert (ada.seed, ada.number("x", 10)) == (variant("  ada ").seed, variant("ADA").number("x", 10))
    assert ada.seed == variant(SimpleNamespace(name="Ada")).seed == 449977079
    assert ada.rows(500, 5).tolist() == variant("ada").rows(500, 5).tolist()
    assert len(set(ada.seeds(20))) == 20


def test_names_give_different_numbers():
    names = [f"student {at}" for at in range(200)]
    assert len({variant(name).seed for name in names}) == 200
    assert len({tuple(variant(name).rows(500, 100)) for name in names}) == 200
    counts = np.bincount(np.concatenate([variant(name).rows(500, 100) for name in names]), minlength=500)
    assert counts.min() > 10  # every row is somebody's


def test_a_seat_has_its_variant(monkeypatch):
    monkeypatch.delitem(sys.modules, "labkit.workshop.seat", raising=False)
    with pytest.raises(LabError, match="Whose numbers"):
        variant()
    module = ModuleType("labkit.workshop.seat")
    module.joined = lambda: SimpleNamespace(name="Ada")
    monkeypatch.setitem(sys.modules, "labkit.workshop.seat", module)
    assert variant() == variant("ada")
    with pytest.raises(LabError, match="empty"):
        variant("  ")
    with pytest.raises(LabError, match="cannot be chosen"):
        variant("Ada").rows(5, 6)


def test_ones_own_answer_is_right_and_a_neighbours_is_not():
    mine = variant("Ada")
    test = own_answer(mine, mean_of, among=("Grace", "Alan"))
    right = mean_of(mine)
    assert check(lambda: right, test).right
    assert "somebody else's" in check(lambda: mean_of(variant("Grace")), test).says
    assert "the sign is not" in check(lambda: -right, test).says
    assert "per cent" in check(lambda: 100 * right, test).says
    assert "is not what comes out" in check(lambda: right + 0.1, test).says
    assert "should be one number" in check(lambda: [right, right], test).says
