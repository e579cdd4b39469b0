"""Spectra: shares on a logarithmic axis, the effective rank at its place."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.spectrum import spectrum
from labkit.views.theme import alt_text


def shares(layers: int = 2, components: int = 8) -> xr.DataArray:
    """Halving shares, all components used; the second layer has half as many."""
    values = np.tile(0.5 ** np.arange(1, components + 1), (layers, 1))
    values[1::2, components // 2 :] = np.nan
    coords = {"layer": [f"layer {at}" for at in range(layers)], "effective_rank": ("layer", np.full(layers, 3.0))}
    return xr.DataArray(values, dims=("layer", "component"), coords=coords)


def test_lines_are_the_shares_in_per_cent_as_far_as_the_layer_goes():
    figure = spectrum(shares())
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    np.testing.assert_allclose(values_of(lines[0].y), 100 * 0.5 ** np.arange(1, 9), rtol=1e-6)
    assert values_of(lines[1].x).tolist() == [1, 2, 3, 4]
    assert figure.layout.yaxis.type == "log"


def test_the_effective_rank_is_marked_on_the_line():
    ring = next(trace for trace in spectrum(shares()).data if trace.mode == "markers")
    assert list(ring.x) == [3]
    assert ring.y[0] == pytest.approx(12.5)


def test_many_layers_are_rows_with_their_effective_ranks():
    data = shares(9, 1000)
    figure = spectrum(data)
    assert [trace.type for trace in figure.data] == ["heatmap", "scatter"]
    places = values_of(figure.data[0].customdata)[0]
    assert (places[0], places[-1]) == (1, 1000)
    np.testing.assert_allclose(
        10 ** values_of(figure.data[0].z)[0][:5], 100 * data.values[0][places[:5] - 1], rtol=1e-4
    )
    np.testing.assert_allclose(values_of(figure.data[1].x), np.log10(3), rtol=1e-6)


def test_rounding_errors_are_not_drawn_as_components():
    data = shares(1)
    data[0, 5:] = 1e-12
    assert values_of(spectrum(data).data[0].x).tolist() == [1, 2, 3, 4, 5]


def test_the_sentence_says_how_many_components_hold_most_of_the_variance():
    assert "in layer 0 4 components hold 90 % of the variance, the first 50\u00a0%" in alt_text(
        spectrum(shares())
    ).replace("In layer 0", "in layer 0")


def test_a_spectrum_without_ranks_and_negative_shares_are_refused():
    with pytest.raises(LabError, match="effective_rank"):
        spectrum(shares().drop_vars("effective_rank"))
    with pytest.raises(LabError, match="negative"):
        spectrum(shares() - 0.4)
