"""Token strip: cells are first choices, dropped tokens are crosses, a long text has a window, a slider and a start."""

import json

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.theme import BUDGET, alt_text, payload
from labkit.views.token_strip import example, token_strip


def choices(layers: int, tokens: int, experts: int, ranks: int = 2, text: bool = True) -> xr.DataArray:
    random = np.random.default_rng(0)
    index = random.random((layers, tokens, experts)).argsort(-1)[..., :ranks]
    dims = ("layer", "token", "rank")
    weight = -np.sort(-random.dirichlet(np.ones(ranks), (layers, tokens)))
    coords = {"layer": [f"layers.{at}" for at in range(layers)], "weight": (dims, weight)}
    if text:
        coords["text"] = ("token", [f"Ġword{at}" for at in range(tokens)])
    return xr.DataArray(index, dims=dims, coords=coords, attrs={"choice": "expert"})


def subtitle(figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def test_a_cell_is_the_first_choice_and_hover_knows_the_others():
    data = choices(3, 20, 8)
    strip = token_strip(data).data[0]
    np.testing.assert_array_equal(values_of(strip.z), data.values[..., 0])
    told = values_of(strip.customdata)
    np.testing.assert_array_equal(told[..., 1], data.values[..., 1])
    np.testing.assert_array_equal(told[..., 0], np.round(100 * data["weight"].values[..., 0]))
    assert "then expert %{customdata[1]} (%{customdata[2]} %)" in strip.hovertemplate


def test_the_window_moves_over_the_text_and_opens_at_its_beginning():
    figure = token_strip(choices(2, 100, 8))
    assert list(figure.layout.xaxis.range) == [-0.5, 29.5]
    assert figure.layout.sliders[0].active == 0
    assert [frame.layout.xaxis.range[0] for frame in figure.frames] == [-0.5, 29.5, 59.5, 69.5]
    assert "30 tokens in view" in subtitle(figure)
    assert not token_strip(choices(2, 30, 8)).frames


def test_long_texts_stand_above_the_columns_and_short_ones_in_the_cells():
    figure = token_strip(choices(2, 5, 4))
    assert list(figure.layout.xaxis.ticktext) == [f"word{at}" for at in range(5)]
    assert figure.data[0].text is None
    short = choices(2, 3, 4).assign_coords(text=("token", ["a", "\n", "<"]))
    assert [list(row) for row in token_strip(short).data[0].text] == [["a", "↵", "&lt;"]] * 2


def test_a_dropped_token_is_a_cross_and_no_expert():
    data = choices(2, 6, 4)
    data[1, 3] = -1
    data[0, 2, 0] = -1  # the first place was full, the second was kept
    figure = token_strip(data)
    cells = values_of(figure.data[0].z)
    assert np.isnan(cells[1, 3])
    assert cells[0, 2] == data.values[0, 2, 1]
    cross = figure.data[1]
    assert (values_of(cross.x).tolist(), list(cross.y)) == ([3], ["layers.1"])
    assert "dropped" in cross.hovertemplate
    assert "of the tokens are dropped" in alt_text(figure)
    assert len(token_strip(choices(2, 6, 4)).data) == 1


def test_a_text_too_long_for_one_picture_goes_on_from_start():
    data = choices(48, 3000, 64, ranks=4)
    figure = token_strip(data)
    shown = values_of(figure.data[0].z).shape[1]
    assert 300 < shown < 3000
    assert f"tokens 0 to {shown - 1:,} of 3,000, start={shown} shows more" in subtitle(figure)
    later = token_strip(data, start=shown)
    assert later.data[0].x0 == shown
    np.testing.assert_array_equal(values_of(later.data[0].z), data.values[:, shown : 2 * shown, 0])
    assert max(payload(figure), payload(later)) <= BUDGET


def test_more_than_twelve_experts_are_told_by_their_number():
    assert "colours repeat after 12" in subtitle(token_strip(choices(2, 10, 13)))
    assert "repeat" not in subtitle(token_strip(choices(2, 10, 12)))
    assert token_strip(choices(2, 10, 13)).data[0].texttemplate == "%{z}"


def test_sequences_are_set_apart_by_a_line():
    data = choices(2, 10, 4).assign_coords(sequence=("token", np.arange(10) // 5))
    assert [shape.x0 for shape in token_strip(data).layout.shapes] == [4.5]


def test_tokens_that_a_layer_has_not_are_neither_chosen_nor_dropped():
    data = choices(2, 6, 4)
    data[1, 4:] = -1
    data["weight"][1, 4:] = np.nan
    figure = token_strip(data)
    assert np.isnan(values_of(figure.data[0].z)[1, 4:]).all()
    assert len(figure.data) == 1


def test_the_sentence_compares_neighbours_with_chance():
    data = choices(1, 400, 2, ranks=1, text=False)
    data[:] = np.repeat([0, 1], 200)[None, :, None]
    assert "share their first expert in 99.7 % of the cases, shuffled ones would in 50 %" in alt_text(
        token_strip(data)
    ).replace("\u00a0", " ")


def test_halves_of_experts_and_starts_outside_the_text_are_refused():
    with pytest.raises(LabError, match="token_strip needs the numbers of the choices"):
        token_strip(choices(2, 5, 4) + 0.5)
    with pytest.raises(LabError, match="start is 5"):
        token_strip(choices(2, 5, 4), start=5)


def test_the_cursor_knows_where_tokens_and_layers_lie():
    figure = token_strip(**example(0))
    assert figure.layout.meta["axes"] == {"x": "token", "y": "layer"}
    assert json.loads(figure.to_json())["layout"]["yaxis"]["tickvals"] == ["layers.0", "layers.1"]
