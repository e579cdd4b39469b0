"""Flow between experts: nothing gets lost, strong bands are more than chance, the table tells the bands."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import table
from labkit.views.choice_flow import choice_flow, example
from labkit.views.theme import alt_text


def flow(pairs: int, experts: int) -> xr.DataArray:
    values = np.random.default_rng(0).dirichlet(np.full(experts**2, 0.3), pairs).reshape(pairs, experts, experts)
    layers = [f"layers.{at}" for at in range(pairs + 1)]
    coords = {
        "between": [f"{one} -> {two}" for one, two in pairwise(layers)],
        "from": ("from", np.arange(experts), {"long_name": "expert"}),
    }
    return xr.DataArray(values, dims=("between", "from", "to"), coords=coords)


def test_each_band_is_the_share_of_tokens_between_its_experts():
    data = flow(1, 3)
    sankey = choice_flow(data).data[0]
    labels = list(sankey.node.label)
    assert labels == ["expert 0", "expert 1", "expert 2"] * 2
    for source, target, value in zip(sankey.link.source, sankey.link.target, sankey.link.value):
        assert value == pytest.approx(100 * data.values[0, source, target - 3], rel=1e-3)


def test_layers_hang_together_and_nothing_gets_lost():
    sankey = choice_flow(flow(3, 8)).data[0]
    assert len(sankey.node.label) == 32
    assert sum(sankey.link.value) == pytest.approx(300, abs=0.05)
    assert max(sankey.link.source) < 24


def test_bands_that_are_taken_more_often_than_by_chance_are_strong():
    data = flow(1, 2)
    data[0] = [[0.4, 0.1], [0.1, 0.4]]
    link = choice_flow(data).data[0].link
    strong = {
        (source, target) for source, target, color in zip(link.source, link.target, link.color) if "0.75" in color
    }
    assert strong == {(0, 2), (1, 3)}
    data[0] = 0.25
    assert not any("0.75" in color for color in choice_flow(data).data[0].link.color)


def test_beyond_ten_experts_the_rest_is_other_and_counted():
    figure = choice_flow(flow(1, 64))
    sankey = figure.data[0]
    assert list(sankey.node.label).count("other (54)") == 2
    assert len(sankey.node.label) == 22
    assert sum(sankey.link.value) == pytest.approx(100, abs=0.05)
    assert "the 10 fullest of a layer" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_many_layers_have_a_slider_over_the_pairs():
    figure = choice_flow(flow(9, 4))
    assert len(figure.frames) == 9
    assert sum(figure.frames[4].data[0].link.value) == pytest.approx(100, abs=0.05)
    assert figure.layout.sliders[0].steps[4].label == "4 → 5"


def test_pairs_that_do_not_follow_each_other_are_not_joined():
    assert len(choice_flow(flow(4, 4).isel(between=[0, 2])).frames) == 2


def test_an_idle_expert_is_not_drawn_but_said():
    data = flow(1, 4)
    data[0, 2] = 0
    figure = choice_flow(data)
    assert len(figure.data[0].node.label) == 7
    assert "1 expert that got no token are not drawn" in alt_text(figure)


def test_the_table_tells_the_strongest_bands():
    text = table(choice_flow(**example(0)))
    assert "the 24 strongest of" in text
    assert "expert 0 of layer 0 to expert 0 of layer 1" in text
    assert text.count("<td>") == 24


def test_negative_flows_are_refused():
    with pytest.raises(LabError, match="choice_flow needs shares of tokens"):
        choice_flow(flow(1, 4) - 1)
