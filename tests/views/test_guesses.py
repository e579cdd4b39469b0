"""The class's guesses: the band holds what it says, the truth is optional, and the distance is that of the middle guess."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.guesses import SINGLES, guesses
from labkit.views.theme import alt_text

STEPS = [0, 100, 200]


def of(values, dims=("guess", "step"), units="fraction"):
    attrs = {"long_name": "test accuracy", "units": units}
    return xr.DataArray(np.asarray(values, float), dims=dims, coords={"step": STEPS}, attrs=attrs)


def trace(figure, name):
    return next(one for one in figure.data if one.name == name)


def test_the_bands_hold_half_and_four_fifths_of_the_guesses():
    levels = np.linspace(0, 1, 101)
    figure = guesses(of(np.repeat(levels[:, None], 3, 1)))
    for name, low, high in (("half of guesses", 0.25, 0.75), ("80 % of guesses", 0.1, 0.9)):
        band = np.asarray(trace(figure, name).y)
        assert sorted(set(np.round(band, 6))) == [low, high]
    assert np.allclose(trace(figure, "middle guess").y, 0.5)
    assert "not known yet" in figure.layout.title.subtitle.text
    assert "101 guesses of test accuracy" in alt_text(figure)


def test_the_distance_is_that_of_the_guess_in_the_middle():
    figure = guesses(of([[0.4] * 3, [0.5] * 3, [0.9] * 3]), of([0.43] * 3, ("step",)))
    said = " ".join(figure.layout.title.subtitle.text.replace("<br>", " ").split())
    assert "the guess in the middle is 7.0 points off on average" in said
    assert "for 100% of the way" in said
    nats = guesses(of([[1.5] * 3], units="nats"), of([1.0] * 3, ("step",), "nats"))
    assert "0.5 nats off" in nats.layout.title.subtitle.text.replace("<br>", " ")


def test_few_guesses_are_lines_of_their_own_and_many_are_not():
    few = guesses(of(np.random.default_rng(0).random((3, 3))))
    many = guesses(of(np.random.default_rng(0).random((SINGLES + 1, 3))))
    assert sum(one.name.startswith("guess ") for one in few.data) == 3
    assert not any(one.name.startswith("guess ") for one in many.data)


def test_seeds_have_a_band_and_a_guess_may_have_holes():
    truth = of([[0.2] * 3, [0.4] * 3], ("seed", "step"))
    figure = guesses(of([[0.5, np.nan, 0.7], [np.nan] * 3]), truth)
    assert sorted(set(np.round(trace(figure, "its seeds").y, 6))) == [0.2, 0.4]
    assert "1 guess" in alt_text(figure)
    assert len(trace(figure, "middle guess").x) == 2


def test_what_happened_elsewhere_is_said():
    later = of([0.4] * 3, ("step",)).assign_coords(step=[900, 1000, 1100])
    assert "outside the guesses" in guesses(of([[0.5] * 3]), later).layout.title.subtitle.text


def test_steps_are_numbers():
    with pytest.raises(LabError, match="numbers along step"):
        guesses(of([[0.5] * 3]).assign_coords(step=["a", "b", "c"]))
