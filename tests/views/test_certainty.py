"""Certainty: margins and entropies by layer, toss-ups counted, layers matched by name."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.certainty import FEW, certainty
from labkit.views.theme import alt_text

MIDDLES = (np.arange(20) + 0.5) / 20


def margins(layers: int, steps: int = 0) -> xr.DataArray:
    shape = (steps, layers, 20) if steps else (layers, 20)
    values = np.random.default_rng(0).dirichlet(np.ones(20), shape[:-1])
    coords = {"layer": [f"layers.{at}" for at in range(layers)], "bin": MIDDLES}
    dims = ("step", "layer", "bin") if steps else ("layer", "bin")
    return xr.DataArray(values, dims=dims, coords=coords)


def entropies(layers: list[str], tokens: int = 101) -> xr.DataArray:
    values = np.tile(np.linspace(0, 2, tokens), (len(layers), 1)) + np.arange(len(layers))[:, None] / 10
    return xr.DataArray(values, dims=("layer", "token"), coords={"layer": layers, "token": np.arange(tokens)})


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ").replace("\u00a0", " ")


def test_few_layers_are_bars_and_many_a_map():
    data = margins(2)
    bars = [trace for trace in certainty(data).data if trace.type == "bar"]
    np.testing.assert_allclose([values_of(trace.y) for trace in bars], 100 * data.values, rtol=1e-5)
    many = margins(FEW + 1)
    grid = certainty(many).data[0]
    np.testing.assert_allclose(values_of(grid.z), 100 * many.values, rtol=1e-5)


def test_toss_ups_are_counted_and_said():
    data = margins(2)
    data[:] = 0
    data[0, 19], data[1, 0], data[1, 19] = 1, 0.6, 0.4
    text = subtitle(certainty(data))
    assert "a margin near 0 is a toss-up" in text.lower()
    assert "30 % of the tokens have a margin below 0.1, 60 % in layer 1" in text
    assert "The smallest mean margins are 0.41 in layer 1 and 0.97 in layer 0" in alt_text(certainty(data))


def test_entropy_is_told_by_quantiles_of_the_layer_of_the_same_name():
    figure = certainty(margins(2), entropies(["layers.1", "layers.0"]))
    median = next(trace for trace in figure.data if trace.name == "median entropy (bits)")
    np.testing.assert_allclose(values_of(median.x), [1.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(values_of(median.customdata)[1], [0.1, 0.5, 1, 1.5, 1.9], rtol=1e-5)
    assert "highest in layer 0 with 1.10 bits" in alt_text(figure)


def test_the_least_sure_token_is_named():
    entropy = entropies(["layers.0"])
    entropy = entropy.assign_coords(text=("token", [f"w{at}" for at in range(101)]))
    assert "token 100, “w100”" in alt_text(certainty(margins(1), entropy))


def test_steps_become_a_slider():
    data = margins(2, steps=7)
    figure = certainty(data)
    assert len(figure.frames) == 7
    np.testing.assert_allclose(values_of(figure.frames[3].data[1].y), 100 * data.values[3, 1], rtol=1e-5)
    many = certainty(margins(9, steps=7))
    assert values_of(many.frames[0].data[0].z).shape == (9, 20)


def test_bins_are_added_up_not_thinned():
    data = margins(9).pad(bin=(0, 0))
    fine = xr.DataArray(np.repeat(data.values / 5, 5, 1), dims=data.dims, coords={"bin": (np.arange(100) + 0.5) / 100})
    grid = values_of(certainty(fine).data[0].z)
    assert grid.shape[1] <= 40
    np.testing.assert_allclose(grid.sum(1), 100, rtol=1e-4)


def test_entropy_of_other_layers_and_margins_beyond_one_are_refused():
    with pytest.raises(LabError, match="certainty needs entropy of the layers of margin"):
        certainty(margins(2), entropies(["other"]))
    with pytest.raises(LabError, match="bins of p1 - p2 from 0 to 1"):
        certainty(margins(2).assign_coords(bin=MIDDLES * 3))
