"""The page of one unit over a text."""

import re

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.unit_text import example, unit_text


def activity(values, **coords) -> xr.DataArray:
    text = [f" w{at}" for at in range(len(values))]
    coords = {"text": ("token", text), "unit": 3, "layer": "mlp", **coords}
    return xr.DataArray(np.asarray(values, float), dims="token", coords=coords)


def passages(text: str) -> list[tuple[str, list[str]]]:
    """The value of each place, and the tokens shown around it."""
    items = re.findall(r"<li><b>(.*?)</b>(.*?)</li>", text, re.S)
    return [(value, re.findall(r">( ?w\d+)</span>", body)) for value, body in items]


def test_the_strongest_places_come_first_with_the_tokens_around_them():
    values = np.zeros(100)
    values[[20, 60, 90]] = 5, 9, 7
    found = passages(unit_text(activity(values), around=2))
    assert [one[0] for one in found] == ["9", "7", "5"]
    assert [token.strip() for token in found[0][1]] == ["w58", "w59", "w60", "w61", "w62"]


def test_one_passage_is_not_shown_twice():
    values = np.zeros(100)
    values[50:55] = 5, 6, 9, 8, 7
    assert [one[0] for one in passages(unit_text(activity(values), around=4))] == ["9"]
    assert len(passages(unit_text(activity(values), around=1))) == 3


def test_a_passage_stays_in_its_sequence():
    values = np.zeros(20)
    values[10] = 4
    found = passages(unit_text(activity(values, sequence=("token", [0] * 10 + [1] * 10)), around=3))
    assert [token.strip() for token in found[0][1]] == ["w10", "w11", "w12", "w13"]


def test_the_tab_key_goes_from_peak_to_peak():
    values = np.zeros(100)
    values[[20, 60]] = 5, 9
    assert unit_text(activity(values)).count("tabindex") == 2


def test_density_and_ablation_are_said_and_drawn():
    effect = xr.DataArray([0.25, -0.5], dims="quantity", coords={"quantity": ["loss", "output"]})
    text = unit_text(activity([0, 0, 3, 1]), effect)
    assert "active for 50 % of 4 tokens, 1 on average" in text.replace("\u00a0", " ")
    assert "the loss changes by +0.25 and the output changes by −0.5" in text
    assert text.count("<rect") == 3
    assert "Unit 3 of mlp" in text


def test_a_silent_unit_has_a_page_too():
    assert passages(unit_text(activity([0, 0, 0]))) == []


def test_a_very_long_text_stays_small():
    values = np.random.default_rng(0).normal(size=100_000)
    assert len(unit_text(activity(values), places=24, around=500).encode()) < 300_000


def test_no_place_is_refused():
    with pytest.raises(LabError, match="at least 1 place"):
        unit_text(activity([1.0]), places=0)


def test_the_example_finds_a_unit_that_matters():
    assert "loss changes by +" in unit_text(**example(0))
