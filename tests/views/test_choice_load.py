"""Load of the choices: per cent of an equal share, deaths where they happen, maps and bars, many layers."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.choice_load import EVENTS, choice_load
from labkit.views.theme import alt_text


def loads(*shape: int, dims: tuple = ("step", "layer", "choice"), noun: str = "expert") -> xr.DataArray:
    values = np.random.default_rng(0).gamma(4.0, size=shape)
    values /= values.sum(-1, keepdims=True)
    coords = {"choice": ("choice", np.arange(shape[-1]), {"long_name": noun})}
    if "step" in dims:
        coords["step"] = 10 * np.arange(shape[0])
    return xr.DataArray(values, dims=dims, coords=coords)


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ").replace("\u00a0", " ")


def test_a_map_is_in_per_cent_of_an_equal_share():
    data = loads(5, 2, 8)
    figure = choice_load(data)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(maps) == 2
    np.testing.assert_array_equal(values_of(maps[1].z), np.round(800 * data.values[:, 1].T))
    assert values_of(maps[0].x).tolist() == [0, 10, 20, 30, 40]
    assert figure.layout.meta["axes"] == {"x": "step", "y": "choice"}


def test_an_expert_dies_where_it_gets_its_first_nothing_and_for_good():
    data = loads(6, 1, 4)
    data[3:, 0, 2] = 0
    data[2, 0, 1] = 0  # came back
    figure = choice_load(data)
    cross = next(trace for trace in figure.data if trace.name == "dies")
    assert (values_of(cross.x).tolist(), values_of(cross.y).tolist()) == ([30], [2])
    [event] = figure.layout.meta["events"]
    assert (event["step"], event["kind"]) == (30, "expert dies")
    assert "expert 2 gets nothing" in event["says"]
    assert "1 expert of 4 get nothing at the end, the first from step 30 on" in subtitle(figure)
    assert "of layer" not in alt_text(figure)


def test_an_expert_that_nobody_looked_at_lately_is_not_dead():
    data = loads(6, 2, 4)
    data[4:, 0] = np.nan
    assert "events" not in choice_load(data).layout.meta


def test_one_moment_is_drawn_as_bars_with_a_line_at_an_equal_share():
    data = loads(2, 4, dims=("layer", "choice"))
    data[0, 3] = 0
    figure = choice_load(data)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    share = data.values[0] / data.values[0].sum()
    np.testing.assert_allclose(values_of(bars[0].y), 400 * share, rtol=1e-5)
    assert {shape.y0 for shape in figure.layout.shapes} == {100}
    assert values_of(next(trace for trace in figure.data if trace.name == "gets nothing").x).tolist() == [3]


def test_layers_with_fewer_experts_are_compared_with_their_own_equal_share():
    data = loads(2, 4, dims=("layer", "choice"))
    data[1] = [0.5, 0.5, np.nan, np.nan]
    bars = [values_of(trace.y).tolist() for trace in choice_load(data).data if trace.type == "bar"]
    assert bars[1] == [100, 100]


def test_many_layers_have_a_slider():
    data = loads(5, 9, 8)
    figure = choice_load(data)
    assert len(figure.frames) == 9
    np.testing.assert_array_equal(values_of(figure.data[0].z), np.round(800 * data.values[:, -1].T))
    np.testing.assert_array_equal(values_of(figure.frames[2].data[0].z), np.round(800 * data.values[:, 2].T))


def test_many_experts_are_put_together_and_many_deaths_listed_in_part():
    data = loads(4, 2, 512)
    data[2:, :, :100] = 0
    figure = choice_load(data)
    assert values_of(figure.data[0].z).shape == (128, 4)
    assert "4 neighbouring experts put together" in subtitle(figure)
    assert len(figure.layout.meta["events"]) == EVENTS
    assert "200 experts of 1,024 get nothing" in subtitle(figure)


def test_many_steps_are_averaged_over_stretches():
    data = loads(1000, 1, 4)
    figure = choice_load(data)
    cells = values_of(figure.data[0].z)
    assert cells.shape == (4, 240)
    assert cells.mean() == pytest.approx(100, abs=1)
    assert "mean of the recorded steps" in figure.data[0].hovertemplate


def test_the_noun_is_that_of_the_data():
    assert choice_load(loads(3, 2, 4, noun="slot")).layout.title.text == "How full each slot is"


def test_negative_loads_are_refused():
    with pytest.raises(LabError, match="choice_load needs shares of inputs"):
        choice_load(loads(3, 2, 4) - 1)
