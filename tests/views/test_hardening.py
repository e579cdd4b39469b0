"""The hardening gap: both curves, the gap, and a histogram that follows the slider."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.hardening import example, hardening
from labkit.views.theme import alt_text


def recording(steps: int = 6, bins: int = 8) -> dict:
    soft = np.linspace(0.5, 0.9, steps)
    values = np.stack([soft, soft - np.linspace(0.4, 0.0, steps)], 1)
    coords = {"step": np.arange(steps) * 10, "mode": ["soft", "hard"]}
    margin = np.random.default_rng(0).dirichlet(np.ones(bins), steps)
    at = {"step": coords["step"], "bin": np.linspace(0.25, 3.75, bins)}
    return {
        "accuracy": xr.DataArray(values, dims=("step", "mode"), coords=coords),
        "margin": xr.DataArray(margin, dims=("step", "bin"), coords=at),
    }


def trace(figure, name: str):
    return next(one for one in figure.data if one.name.startswith(name))


def test_the_curves_are_the_means_of_the_seeds():
    given = example(0)
    figure = hardening(**given)
    for mode in ("soft", "hard"):
        expected = given["accuracy"].sel(mode=mode).mean("seed").values
        np.testing.assert_allclose(values_of(trace(figure, f"{mode}:").y), expected, rtol=1e-5)
    assert sum(one.name == "upper" for one in figure.data) == 2


def test_the_gap_is_hatched_between_the_curves():
    figure = hardening(**recording())
    gap = trace(figure, "the gap")
    assert gap.fill == "tonexty"
    assert gap.fillpattern.shape == "/"
    np.testing.assert_array_equal(values_of(gap.y), values_of(trace(figure, "hard:").y))


def test_every_frame_moves_the_marker_and_the_histogram():
    given = recording()
    figure = hardening(**given)
    assert len(figure.frames) == 6
    for place, frame in enumerate(figure.frames):
        assert list(frame.data[0].x) == [place * 10, place * 10]
        assert frame.data[2].y[0] == pytest.approx(float(given["accuracy"][place, 1]))
        np.testing.assert_allclose(values_of(frame.data[3].y), 100 * given["margin"].values[place], rtol=1e-5)
        assert frame.layout.yaxis2.range[1] >= values_of(frame.data[3].y).max()
    assert [figure.data[at].name for at in figure.frames[0].traces] == ["chosen step", "chosen", "chosen", "margins"]


def test_many_bins_are_put_together_and_nothing_gets_lost():
    figure = hardening(**recording(bins=1000))
    bars = values_of(trace(figure, "margins").y)
    assert len(bars) <= 60
    assert bars.sum() == pytest.approx(100, abs=0.01)


def test_margins_of_several_seeds_are_averaged():
    given = recording()
    both = xr.concat([given["margin"], given["margin"][:, ::-1].assign_coords(bin=given["margin"]["bin"])], "seed")
    figure = hardening(given["accuracy"], both)
    np.testing.assert_allclose(values_of(trace(figure, "margins").y), 100 * both.mean("seed").values[-1], rtol=1e-5)


def test_only_common_steps_are_on_the_slider():
    given = recording()
    figure = hardening(given["accuracy"], given["margin"][::2])
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "20", "40"]


def test_the_sentence_tells_where_the_gap_is_widest_and_how_it_ends():
    text = alt_text(hardening(**recording()))
    assert "widest at step 0 with 0.400 and ends at 0.000 (soft 0.900, hard 0.900)" in text


def test_a_missing_mode_is_refused():
    given = recording()
    with pytest.raises(LabError, match="soft and hard in accuracy, and found soft"):
        hardening(given["accuracy"].sel(mode=["soft"]), given["margin"])


def test_recordings_of_other_steps_are_refused():
    given = recording()
    with pytest.raises(LabError, match="record them together"):
        hardening(given["accuracy"], given["margin"].assign_coords(step=np.arange(6) + 1000))
