"""Moving pictures, on Python's side: messages, scales that do not jump, places, marks, and the strip of a whole run."""

import base64
import json
import re

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.tiles import coded
from labkit.widgets.live_picture import LivePicture
from labkit.widgets.panel_live_picture import PanelLivePicture
from labkit.widgets.picture_frames import BARS, TRAVELS, Words, differing
from labkit.widgets.steady_range import Range, rounded_up
from labkit.widgets.strip import Strip

WORDS = Words("experts: load", "The share of the inputs that each expert gets.")


def load(values=(0.5, 0.25, 0.25, 0.0), layer: str = "slot.gate") -> xr.DataArray:
    coords = {"layer": [layer], "choice": ("choice", np.arange(len(values)), {"long_name": "expert"})}
    attrs = {"long_name": "share of inputs", "units": "fraction", "even_share": 1 / len(values)}
    return xr.DataArray(np.array([values], np.float32), dims=("layer", "choice"), coords=coords, attrs=attrs)


def activity(layers: int = 3, units: int = 5) -> xr.DataArray:
    names = [f"layers.{place}.mlp" for place in range(layers)]
    values = np.arange(layers * units, dtype=np.float32).reshape(layers, units)
    return xr.DataArray(values, dims=("layer", "unit"), coords={"layer": names, "unit": np.arange(units) * 2})


def state(picture) -> dict:
    return json.loads(picture.state)


def values_of(picture) -> np.ndarray:
    """The numbers that travel behind the codes, as the browser reads them."""
    found = state(picture)
    size = found["shape"][0] * found["shape"][1]
    numbers = np.frombuffer(bytes(picture.cells), "<f2", offset=size + size % 2).astype(np.float64)
    return numbers.reshape(found["shape"]) * found["scale"]


@pytest.fixture(params=[LivePicture, PanelLivePicture])
def picture(request):
    return request.param(WORDS)


def test_a_picture_travels_as_codes_and_as_values(picture):
    data = activity()
    data[1, 2] = np.nan
    picture.show(data, step=7)
    found = state(picture)
    low, high = found["limits"]
    assert (low, high) == (0, 15)
    np.testing.assert_array_equal(
        np.frombuffer(bytes(picture.cells)[:15], np.uint8), coded(data.values, low, high).ravel()
    )
    np.testing.assert_allclose(values_of(picture), data.values, rtol=1e-3)
    assert (found["step"], found["missing"], found["kind"]) == (7, True, "cells")
    assert "the highest is 14 at layer layers.2.mlp, unit 8" in found["alt"]


def test_every_picture_is_one_message(picture):
    before, busy = picture.seq, []
    for step in range(3):
        picture.show(activity() + step, step=step)
        busy.append(picture.busy)
    assert picture.seq == before + 3
    assert busy == [True] * 3
    picture.acked = picture.seq
    assert not picture.busy


def test_large_values_travel_whole_and_many_do_not_travel(picture):
    picture.show(activity() * 1e9)
    np.testing.assert_allclose(values_of(picture), activity().values * 1e9, rtol=1e-3)
    side = int(TRAVELS**0.5)
    picture.show(np.zeros((side, side)))
    assert len(picture.cells) == TRAVELS // 1 * 3 - 3 * (TRAVELS - side * side) + side * side % 2
    picture.show(np.zeros((256, 512)))
    assert len(picture.cells) == 256 * 512


def test_more_cells_than_fit_are_thinned_and_it_is_said(picture):
    data = xr.DataArray(np.arange(300.0 * 600).reshape(300, 600), dims=("row", "column"))
    data = data.assign_coords(row=np.arange(300), column=np.arange(600))
    picture.show(data)
    assert state(picture)["shape"] == [256, 512]
    assert state(picture)["note"] == "256 of 300 rows and 512 of 600 columns are shown, evenly spread."
    picture.chosen = json.dumps({"row": 255, "column": 511, "count": 1})
    assert picture.picked == {"row": 255 * 300 // 256, "column": 511 * 600 // 512}


def test_one_row_is_drawn_as_bars_from_zero(picture):
    picture.show(load())
    found = state(picture)
    assert (found["kind"], found["limits"], found["even"]) == ("bars", [0, 0.5], 0.25)
    picture.show(load(), bars=False)
    assert state(picture)["kind"] == "cells"
    picture.show(xr.DataArray([0.1, 0.2], dims="choice"))
    assert state(picture)["kind"] == "bars"
    with pytest.raises(LabError, match=f"Bars show one row of at most {BARS:,} numbers, and the array is 3 by 5"):
        picture.show(activity(), bars=True)


def test_the_scale_grows_at_once_and_shrinks_late():
    scale = Range()
    assert scale.fit(np.array([0.0, 0.9])) == (0, 1)
    assert [scale.fit(np.array([0.0, value])) for value in (0.95, 0.6, 0.8, 0.52)] == [(0, 1)] * 4
    assert scale.fit(np.array([0.0, 1.1])) == (0, 1.25)
    assert [scale.fit(np.array([0.0, 0.1])) for _ in range(19)] == [(0, 1.25)] * 19
    assert scale.fit(np.array([0.0, 0.1])) == (0, 0.1)
    for _ in range(15):
        scale.fit(np.array([0.0, 0.01]))
    assert scale.fit(np.array([0.0, 0.09])) == (0, 0.1), "what needs the room again starts the patience anew"
    assert scale.fit(np.array([0.0, 0.01])) == (0, 0.1)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0, 0], (0, 1)),
        ([-0.4, 0.1], (-0.4, 0.4)),
        ([-3, -2.9], (-3, 0)),
        ([5, 5], (0, 5)),
        ([7.1, 9.8], (7, 10)),
        ([np.nan, np.inf, 2], (0, 2)),
        ([np.nan], (0, 1)),
        ([1e-30, 3e-30], (0, 3e-30)),
    ],
)
def test_the_ends_of_a_scale_are_round(values, limits):
    found = Range().fit(np.array(values, float))
    assert found == pytest.approx(limits)
    assert found[0] < found[1]


def test_rounding_up_never_rounds_down():
    for value in np.exp(np.random.default_rng(0).uniform(-30, 30, 500)):
        assert value * (1 - 1e-9) <= rounded_up(value) <= 1.34 * value


def test_a_click_picks_the_coordinates_of_the_cell(picture):
    heard = []
    picture.on_pick(heard.append)
    picture.show(activity())
    picture.chosen = json.dumps({"row": 1, "column": 3, "count": 1})
    assert picture.picked == {"layer": "layers.1.mlp", "unit": 6}
    assert {type(value) for value in picture.picked.values()} == {str, int}
    picture.show(activity() + 1)
    assert (state(picture)["picked"], state(picture)["heard"]) == ([1, 3], 1)
    picture.chosen = json.dumps({"row": None, "column": None, "count": 2})
    assert picture.picked is None
    picture.pick({"layer": "layers.2.mlp", "unit": 0})
    assert state(picture)["picked"] == [2, 0]
    assert heard == [
        {"layer": "layers.1.mlp", "unit": 6},
        None,
        {"layer": "layers.2.mlp", "unit": 0},
    ]


def test_a_picked_cell_stays_picked_where_it_still_is(picture):
    picture.show(activity())
    picture.pick({"layer": "layers.2.mlp", "unit": 8})
    picture.show(activity(2))
    assert state(picture)["picked"] is None
    picture.show(activity().isel(layer=[2, 1]))
    assert state(picture)["picked"] == [0, 4]


def test_a_click_that_comes_late_picks_nothing_that_is_not_there(picture):
    picture.show(activity(1, 2), bars=False)
    picture.chosen = json.dumps({"row": 2, "column": 4, "count": 1})
    assert picture.picked is None
    picture.show(None)
    picture.chosen = json.dumps({"row": 0, "column": 0, "count": 2})
    assert picture.picked is None


def test_coordinates_over_both_axes_and_of_the_whole_are_picked_too(picture):
    place = np.array([[0, 1, -1], [2, 3, -1]])
    values = np.where(place >= 0, 1.0, np.nan)
    coords = {"row": (("down", "across"), place), "parameter": "slot.weight"}
    data = xr.DataArray(values, dims=("down", "across"), coords=coords, attrs={"pictures": 1})
    picture.show(data)
    picture.chosen = json.dumps({"row": 1, "column": 0, "count": 1})
    assert picture.picked == {"row": 2, "parameter": "slot.weight"}
    picture.chosen = json.dumps({"row": 1, "column": 2, "count": 2})
    assert picture.picked == {"row": 2, "parameter": "slot.weight"}, "between two pictures there is nothing to pick"


def test_marks_lie_where_their_place_is(picture):
    off = {"layer": "slot.gate", "choice": 3, "says": "Expert 3 says nothing."}
    picture.show(load(), marks=[off, {"layer": "other", "choice": 1}, {"parameter": "slot.weight", "row": 0}])
    assert state(picture)["marks"] == [[0, 3, "Expert 3 says nothing."]]
    picture.show(load((0.1, 0.9, 0, 0)))
    assert len(state(picture)["marks"]) == 1, "marks stay until others are given"
    picture.mark([])
    assert state(picture)["marks"] == []
    picture.show(activity(), marks=[{"layer": "layers.1.mlp"}, {"unit": 4, "says": "b"}])
    assert state(picture)["marks"] == [[1, None, "changed by hand"], [None, 2, "b"]]


def test_python_tells_the_exact_value(picture):
    picture.show(np.full((256, 512), 1 / 3))
    picture.asked = json.dumps({"row": 5, "column": 9, "count": 1})
    assert json.loads(picture.told) == {"row": 5, "column": 9, "count": 1, "text": "0.333333"}
    picture.show(np.full((2, 2), np.nan))
    picture.asked = json.dumps({"row": 1, "column": 1, "count": 2})
    assert json.loads(picture.told)["text"] == "no value"
    picture.asked = json.dumps({"row": 200, "column": 1, "count": 3})
    assert json.loads(picture.told)["count"] == 2, "an old question about a larger picture is not answered"


def test_arrays_that_cannot_be_shown_are_refused(picture):
    with pytest.raises(LabError, match=r"the array has 3 \(a, b, c\); choose some entries"):
        picture.show(xr.DataArray(np.zeros((2, 2, 2)), dims=("a", "b", "c")))
    with pytest.raises(LabError, match="real numbers only"):
        picture.show(np.array([["a"]]))
    with pytest.raises(LabError, match="and got list"):
        picture.show([1, 2])


def test_long_names_keep_what_tells_them_apart():
    names = [f"transformer.encoder.blocks.{place}.feed_forward.activation" for place in range(3)]
    assert differing(names) == ["… blocks.0 …", "… blocks.1 …", "… blocks.2 …"]
    assert differing(["layers.0.mlp", "layers.1.mlp"]) == ["layers.0.mlp", "layers.1.mlp"]
    names = ["decoder.blocks.0.feed_forward.act", "encoder.blocks.0.feed_forward"]
    assert differing(names) == names
    assert differing(["a" * 30] * 2) == ["a" * 30] * 2


def test_nothing_to_show_is_said(picture):
    assert state(picture)["empty"] == "Nothing to show yet."
    picture.show(activity()[:0])
    assert state(picture)["empty"] == "There is nothing to show: the array has no entry along layer."
    picture.show(np.full((2, 3), np.nan))
    assert state(picture)["alt"].endswith("every value is missing.")
    picture.show(np.ones((1, 1)), bars=False)
    assert state(picture)["shape"] == [1, 1]


def test_the_exported_page_holds_the_picture(tmp_path):
    picture = LivePicture(WORDS)
    picture.show(activity())
    text = picture.export_html(tmp_path / "picture.html")
    assert (tmp_path / "picture.html").read_text(encoding="utf-8") == text
    held = json.loads(re.search(r'id="state">(.*?)</script>', text, re.DOTALL)[1])
    assert base64.b64decode(held["cells"]["bytes"]) == bytes(picture.cells)
    assert "<title>experts: load</title>" in text
    with pytest.raises(LabError, match="could not be written"):
        picture.export_html(tmp_path / "nowhere" / "picture.html")


# The strip of a whole run


def row(value: float) -> xr.DataArray:
    return load((value, value + 0.5, 0, 0))


def test_a_strip_holds_the_whole_run_in_bounded_memory():
    strip = Strip(columns=50)
    for step in range(0, 100_000, 7):
        strip.add(step, row(step))
    kept = strip.array()
    assert kept.dims == ("step", "choice")
    assert 20 <= kept.sizes["step"] <= 50
    assert len(strip._branches["main"].steps) <= 50
    steps = kept.step.values
    assert steps[0] == 0
    assert set(np.diff(steps)) == {kept.attrs["steps_a_column"]}
    assert steps[-1] <= 99_995 < steps[-1] + kept.attrs["steps_a_column"]
    width = kept.attrs["steps_a_column"]
    last_of = [max(step for step in range(0, 100_000, 7) if step < start + width) for start in steps]
    np.testing.assert_allclose(kept.values[:, 0], last_of)


def test_a_column_without_a_measurement_shows_the_one_before():
    strip = Strip()
    for step in (0, 3, 4):
        strip.add(step, row(step))
    np.testing.assert_array_equal(strip.array().values[:, 0], [0, 0, 0, 3, 4])


def test_a_rewound_run_replaces_what_came_later():
    strip = Strip()
    for step in range(10):
        strip.add(step, row(step))
    strip.add(4, row(100))
    np.testing.assert_array_equal(strip.array().values[:, 0], [0, 1, 2, 3, 100])


def test_a_branch_begins_with_its_parents_past():
    strip = Strip()
    for step in range(10):
        strip.add(step, row(step))
    strip.fork("second", "main", 4)
    strip.add(5, row(50), "second")
    np.testing.assert_array_equal(strip.array("second").values[:, 0], [0, 1, 2, 3, 4, 50])
    np.testing.assert_array_equal(strip.array().values[:, 0], range(10))
    assert strip.branches == ("main", "second")


def test_a_strip_is_shown_with_steps_across(picture):
    strip = Strip(columns=10)
    for step in range(35):
        strip.add(step, row(step / 40))
    picture.show_strip(strip.array(), step=34, marks=[{"layer": "slot.gate", "choice": 2, "says": "off"}])
    found = state(picture)
    assert found["shape"] == [4, 7]
    assert [axis["word"] for axis in found["axes"]] == ["Expert", "Training step"]
    assert found["marks"] == [[2, None, "off"]]
    assert found["note"] == "Each column is 5 steps, of which the last measurement is shown."
    picture.chosen = json.dumps({"row": 1, "column": 6, "count": 1})
    assert picture.picked == {"layer": "slot.gate", "choice": 1, "step": 30}
    picture.show_strip(Strip().array())
    assert state(picture)["shape"] == [0, 0]


def test_a_strip_takes_one_row_for_each_step():
    with pytest.raises(LabError, match=r"got \(layer: 3, unit: 5\); choose one, as .isel\(layer=0\)"):
        Strip().add(0, activity())
    strip = Strip()
    strip.add(0, row(0))
    strip.add(1, load((0.5, 0.5)))
    assert strip.array().shape == (1, 2), "another number of experts begins anew"
