"""Balance: layers against the pooled loss; it says that a loss lies only where it does."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.balance import balance
from labkit.views.theme import alt_text


def losses(rows: list, even: float = 2.0, steps: bool = True) -> xr.DataArray:
    """Losses of some layers and, last, of all pooled, in multiples of `even`."""
    values = np.array(rows, float) * even
    values = np.stack([values, np.full_like(values, even)], -1)
    coords = {
        "layer": [*(f"layers.{at}" for at in range(len(rows) - 1)), "all layers pooled"],
        "quantity": ["auxiliary loss", "loss if even"],
        "pooled": ("layer", [*[False] * (len(rows) - 1), True]),
    }
    dims = ("layer", "step", "quantity") if steps else ("layer", "quantity")
    if steps:
        coords["step"] = 10 * np.arange(values.shape[1])
    return xr.DataArray(values, dims=dims, coords=coords)


LIE = [[1, 2, 4], [1, 1.1, 1.05], [1, 1.02, 1.04]]
HONEST = [[1, 2, 4], [1, 2, 4], [1, 2, 3.9]]


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_a_lie_is_called_one():
    figure = balance(losses(LIE))
    assert figure.layout.title.text == "The loss that lies"
    assert "the loss looks balanced (1.04 times even), but layer 0 for itself is at 4.00" in subtitle(figure)
    assert "layer 0 4.00" in alt_text(figure)


@pytest.mark.parametrize("rows", [HONEST, [[1, 1.1], [1, 1.2], [1, 1.01]]])
def test_a_loss_that_tells_of_the_collapse_or_has_none_to_tell_does_not_lie(rows):
    assert balance(losses(rows)).layout.title.text == "The balance of each layer"


def test_lines_and_rows_are_in_multiples_of_an_even_load():
    figure = balance(losses(LIE))
    lines = {trace.name: values_of(trace.y) for trace in figure.data if trace.type == "scatter"}
    np.testing.assert_allclose(lines["all layers pooled"], LIE[-1], rtol=1e-6)
    np.testing.assert_allclose(lines["worst layer at the end: 0"], LIE[0], rtol=1e-6)
    np.testing.assert_allclose(lines["mean of the layers"], [1, 1.55, 2.525], rtol=1e-6)
    rows = next(trace for trace in figure.data if trace.type == "heatmap")
    np.testing.assert_allclose(values_of(rows.z), LIE[:2], rtol=1e-6)
    assert list(rows.y) == ["layers.0", "layers.1"]


def test_one_moment_is_drawn_as_bars_with_the_pooled_loss_as_a_line():
    figure = balance(losses([[4.0], [1.05], [1.04]], steps=True).isel(step=0))
    np.testing.assert_allclose(values_of(figure.data[0].x), [4, 1.05], rtol=1e-6)
    assert sorted(shape.x0 for shape in figure.layout.shapes) == pytest.approx([1, 1.04])
    assert figure.layout.title.text == "The loss that lies"


def test_without_a_pooled_row_it_says_so():
    data = losses(LIE).isel(layer=slice(2))
    assert "a pooled loss was not recorded" in subtitle(balance(data))
    lost = losses(LIE)
    lost[2] = np.nan
    assert "a pooled loss was not recorded" in subtitle(balance(lost))


def test_the_pooled_row_is_known_by_its_name_where_nothing_marks_it():
    figure = balance(losses(LIE).drop_vars("pooled"))
    assert "layer 0 for itself" in subtitle(figure)
    assert figure.layout.title.text == "The loss that lies"


def test_other_quantities_and_no_layers_are_refused():
    with pytest.raises(LabError, match="balance needs the quantities auxiliary loss and loss if even"):
        balance(losses(LIE).assign_coords(quantity=["a", "b"]))
    with pytest.raises(LabError, match="found only the pooled one"):
        balance(losses(LIE).isel(layer=[2]))
