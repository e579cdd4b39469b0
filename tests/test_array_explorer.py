"""The array explorer's Python half: what is sent, what is read, what is said; and the cursor that pictures share."""

import json
import tracemalloc
import zlib

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr
from ipywidgets import IntSlider, SelectionSlider
from numpy.testing import assert_allclose

from labkit.errors import LabError
from labkit.views.specimen import digits
from labkit.views.theme import BUDGET
from labkit.views.tiles import CELLS, blocks_of, bounds, coded, fitted
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.array_reading import ArrayReading
from labkit.widgets.cursor import Cursor
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.panel_array_explorer import PanelArrayExplorer


def array(*sizes: int, dims: tuple[str, ...] = (), seed: int = 0, **attrs: str) -> xr.DataArray:
    values = np.random.default_rng(seed).standard_normal(sizes, dtype=np.float32)
    return xr.DataArray(values, dims=dims or None, attrs=attrs)


def similarity() -> xr.DataArray:
    """How alike 40 digits are, as a softmax of their cosines at two temperatures: (head, query, key), with their labels."""
    pixels, labels = digits()
    flat = pixels[:40].reshape(40, -1) / np.linalg.norm(pixels[:40].reshape(40, -1), axis=1, keepdims=True)
    scores = np.stack([flat @ flat.T * heat for heat in (5, 20)])
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    text = [f"digit {label}" for label in labels[:40]]
    coords = {"key": np.arange(40), "text": ("key", text)}
    return xr.DataArray(weights, dims=("head", "query", "key"), coords=coords, attrs={"long_name": "likeness"})


def asked(reading: ArrayReading, **changes) -> dict:
    return {**reading.first(), **changes}


def picture(reading: ArrayReading, **changes) -> tuple[dict, np.ndarray]:
    state, cells = reading.answer(asked(reading, **changes))
    told = json.loads(state)
    raw = zlib.decompress(cells) if told["zipped"] else cells
    return told, np.frombuffer(raw, np.uint8).reshape(told["shape"])


# Blocks and codes


@pytest.mark.parametrize("how", ["strongest", "mean", "lowest"])
@pytest.mark.parametrize("block", [(1, 1), (5, 7), (37, 1), (1, 53), (4, 60)])
def test_blocks_hold_what_the_slow_way_finds(how, block):
    values = np.random.default_rng(0).standard_normal((37, 53)).astype(np.float32)
    values[3:9, 10:20], values[0, 0], values[36, 52] = np.nan, np.inf, -np.inf
    found = blocks_of(lambda rows, columns: values[rows, columns], (0, 37, 0, 53), block).shown(how)
    clean = np.where(np.isfinite(values), values, np.nan)
    for row, column in np.ndindex(found.shape):
        part = clean[row * block[0] : (row + 1) * block[0], column * block[1] : (column + 1) * block[1]]
        there = part[np.isfinite(part)]
        if not there.size:
            assert np.isnan(found[row, column])
            continue
        slow = {"mean": there.mean(), "lowest": there.min(), "strongest": there[np.abs(there).argmax()]}[how]
        assert_allclose(found[row, column], slow, rtol=1e-5, atol=1e-6)


def test_one_strong_cell_among_millions_does_not_vanish():
    values = np.zeros((4096, 4096), np.float32)
    values[1234, 3210] = -1
    reading = ArrayReading(values)
    told, codes = picture(reading)
    assert told["block"] == [8, 8]
    assert codes[1234 // 8, 3210 // 8] != codes[0, 0]
    assert (codes != codes[0, 0]).sum() == 1
    _, faded = picture(reading, how="mean", scale="plane")
    assert abs(int(faded[1234 // 8, 3210 // 8]) - int(faded[0, 0])) < 8, "the mean would have hidden it"


def test_a_picture_never_has_more_cells_than_travel():
    for rows, columns in ((512, 512), (4096, 4096), (10**6, 12), (3, 10**7), (70_000, 70_000)):
        tall, wide = fitted(rows, columns, 10**6, 10**6)
        assert -(-rows // tall) * -(-columns // wide) <= CELLS
    assert fitted(512, 512, 520, 520) == (1, 1)


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-2.0, 1.0), (5.0, 5.0)])
def test_codes_stand_for_values_within_half_a_step(low, high, root):
    ends = bounds(low, high)
    values = np.linspace(low, high, 200)
    share = (coded(values, ends[0], ends[1], root).astype(float) - 1) / 254
    if root and ends[2]:
        share = (1 + np.sign(2 * share - 1) * (2 * share - 1) ** 2) / 2
    elif root:
        share = share**2
    assert np.abs(ends[0] + share * (ends[1] - ends[0]) - values).max() <= (ends[1] - ends[0]) / 254 * (
        2 if root else 0.51
    )
    assert coded(np.array([np.nan, low - 9, high + 9]), ends[0], ends[1]).tolist() == [0, 1, 255]


def test_values_of_both_signs_have_zero_in_the_middle():
    assert bounds(-3, 1) == (-3, 3, True)
    assert bounds(0.001, 1) == (0.0, 1, False), "values that begin close above zero begin at zero"
    assert bounds(0.5, 1) == (0.5, 1, False)
    assert bounds(2, 2) == (2, 3, False)


# What travels, and how fast


@pytest.mark.parametrize(
    "sizes", [(12, 12, 512, 512), (4096, 4096), (3, 200_000), (200_000, 3), (1, 1), (2, 3, 4, 5, 6)]
)
def test_the_first_picture_weighs_at_most_300_kilobytes_whatever_the_tensor(sizes):
    explorer = ArrayExplorer(array(*sizes))
    sent = explorer.get_state()
    script = ("_esm", "_css")
    weight = sum(len(v) if isinstance(v, bytes) else len(json.dumps(v)) for k, v in sent.items() if k not in script)
    assert weight <= BUDGET
    assert explorer.cells


def test_thousands_of_long_names_do_not_weigh():
    names = [f"a rather long name of token {place}" for place in range(4000)]
    data = xr.DataArray(np.eye(4000, dtype=np.float32), dims=("query", "key"), coords={"query": names, "key": names})
    explorer = ArrayExplorer(data)
    assert len(explorer.setup) + len(explorer.state) + len(explorer.cells) <= BUDGET


def test_any_question_keeps_within_the_bytes_and_the_ends():
    reading = ArrayReading(array(3000, 5000))
    told, codes = picture(reading, window=[-10, 10**9, -5, 10**9], block=[1, 0])
    assert told["window"] == [0, 3000, 0, 5000]
    assert codes.size <= CELLS
    told, codes = picture(reading, window=[2999, 7, 4000, 4001], block=[1, 1])
    assert told["window"] == [2999, 3000, 4000, 4001]
    assert codes.shape == (1, 1)


@pytest.fixture
def large_file(tmp_path):
    """A netCDF file of 400 MB, written plane by plane, of which a test may read a little."""
    h5netcdf = pytest.importorskip("h5netcdf")
    path = tmp_path / "large.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"layer": 24, "query": 2048, "key": 2048}
        values = file.create_variable("attention", ("layer", "query", "key"), "f4", chunks=(1, 256, 256))
        plane = np.random.default_rng(0).random((2048, 2048), dtype=np.float32)
        for layer in range(24):
            values[layer] = plane + layer
    return path


def test_of_an_array_in_a_file_only_what_is_visible_is_read(large_file):
    with xr.open_dataset(large_file, engine="h5netcdf") as opened:
        tracemalloc.start()
        reading = ArrayReading(opened["attention"])
        told, _ = picture(reading, index={"layer": 23})
        cell = reading.cell(asked(reading, index={"layer": 23}, window=[7, 8, 9, 10], block=[1, 1]))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 60e6, "less than four planes of 24"
        assert told["limits"][1] > 23
        assert cell["value"] == str(opened["attention"][23, 7, 9].values)


def test_a_file_that_was_closed_is_a_sentence(large_file):
    opened = xr.open_dataset(large_file, engine="h5netcdf")
    reading = ArrayReading(opened["attention"])
    opened.close()
    large_file.unlink()
    state = json.loads(reading.answer(reading.first())[0])
    assert state["error"].startswith("The array cannot be read: ")
    assert reading.cell(reading.first() | {"window": [0, 1, 0, 1]})["more"].startswith("This cannot be read: ")


def test_of_a_plane_beyond_all_measure_each_block_is_told_from_some_of_its_rows():
    class Endless:
        read = 0

        def __call__(self, rows: slice, columns: slice) -> np.ndarray:
            self.read += (rows.stop - rows.start) * (columns.stop - columns.start)
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), np.float32)

    endless = Endless()
    found = blocks_of(endless, (0, 400_000, 0, 50_000), fitted(400_000, 50_000, 500, 500))
    assert endless.read <= 2**25
    assert found.read < found.tall
    assert (found.shown("mean") == 1).all()


# What is said


def test_the_words_are_made_of_the_numbers():
    data = similarity()
    told, _ = picture(ArrayReading(data))
    plane = data[0].values
    row, column = np.unravel_index(plane.argmax(), plane.shape)
    assert told["alt"].startswith("Likeness, 40 by 40 (query by key) at head 0: the mean is 0.025,")
    assert f"the highest is {plane.max():.3g}" in told["alt"]
    assert f"at query {row}, key {column} “{data['text'].values[column]}”" in told["alt"]


def test_the_exact_value_of_a_cell_and_of_a_block():
    data = similarity()
    reading = ArrayReading(data)
    one = reading.cell(asked(reading, index={"head": 1}, window=[3, 4, 17, 18], block=[1, 1]))
    assert one["value"] == str(data.values[1, 3, 17])
    assert one["head"] == f"query 3, key 17 “{data['text'].values[17]}”"
    block = reading.cell(asked(reading, window=[0, 8, 0, 8], block=[8, 8], how="mean"))
    assert_allclose(float(block["value"]), data.values[0, :8, :8].mean(), rtol=1e-6)
    assert "the mean of 8 x 8 values; the strongest" in block["more"]
    gone = data.copy(data=np.full_like(data.values, np.nan))
    assert reading.__class__(gone).cell(asked(reading, window=[0, 1, 0, 1], block=[1, 1]))["value"] == "no value"


def test_all_missing_is_said_and_drawn_empty():
    told, codes = picture(ArrayReading(np.full((4, 5), np.nan)))
    assert "every value is missing" in told["alt"]
    assert told["missing"]
    assert (codes == 0).all()


def test_labels_stand_at_round_places_and_bring_their_texts():
    told, _ = picture(ArrayReading(similarity()), window=[0, 40, 10, 14])
    rows, columns = told["ticks"]
    assert rows["apart"] == 1
    assert columns["texts"]["11"].startswith("11 “digit ")
    assert picture(ArrayReading(array(1000, 1000)))[0]["ticks"][0]["apart"] == 50


def test_the_colours_of_all_planes_are_one_scale_where_that_is_asked():
    data = similarity()
    reading = ArrayReading(data)
    assert picture(reading, scale="plane")[0]["limits"][1] == pytest.approx(data.values[0].max())
    assert picture(reading, scale="all")[0]["limits"][1] == pytest.approx(data.values.max())
    corner = picture(reading, scale="visible", window=[0, 4, 5, 9])[0]["limits"]
    assert corner[1] == pytest.approx(data.values[0, :4, 5:9].max())
    assert picture(ArrayReading(data, limits=(0, 2)), scale="given")[0]["limits"] == [0, 2]
    assert ArrayReading(array(5, 3, 4, dims=("step", "layer", "unit"))).first()["scale"] == "all", "steps are compared"


@pytest.mark.parametrize(
    ("data", "more", "says"),
    [
        ([1, 2], {}, "got list"),
        (np.zeros(3), {}, "draws two axes, and the array has 1"),
        (np.zeros((2, 0)), {}, "nothing to draw: there is no entry along axis 1"),
        (np.array([["a"]]), {}, "real numbers only, and got the type <U1"),
        (np.zeros((2, 2), complex), {}, "real numbers only"),
        (xr.Dataset({"a": ("x", [1])}), {}, "take one of its variables"),
        (np.zeros((2, 2)), {"rows": "layer"}, "cannot draw the axis 'layer': the array has axis 0, axis 1"),
        (np.zeros((2, 2)), {"rows": "axis 0", "columns": "axis 0"}, "two different axes"),
        (np.zeros((2, 2)), {"how": "median"}, "one of strongest, mean, lowest, not 'median'"),
        (np.zeros((2, 2)), {"limits": (1, 1)}, "limits that rise"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(data, more, says):
    with pytest.raises(LabError, match=r"^ArrayExplorer") as caught:
        ArrayExplorer(data, **more)
    assert says in str(caught.value)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int16", "int64", "float16", "float64"])
def test_every_kind_of_number_is_drawn(kind):
    values = (np.arange(12).reshape(3, 4) % 5 > 1 if kind == "bool" else np.arange(12).reshape(3, 4)).astype(kind)
    reading = ArrayReading(values)
    assert picture(reading)[1].shape == (3, 4)
    assert reading.cell(asked(reading, window=[1, 2, 2, 3], block=[1, 1]))["value"] == str(values[1, 2])


def test_a_tensor_with_gradients_is_drawn():
    assert ArrayExplorer(torch.randn(3, 4, dtype=torch.bfloat16, requires_grad=True)).cells


# The widget


def test_python_answers_what_the_browser_asks_and_hears_what_is_chosen():
    data, heard = similarity(), []
    explorer = ArrayExplorer(data)
    explorer.on_cell(lambda place, value: heard.append((place, value)))
    wanted = {**json.loads(explorer.first), "index": {"head": 1}, "count": 41}
    explorer.wanted = json.dumps(wanted)
    assert json.loads(explorer.state)["count"] == 41
    assert explorer.seq == 2
    explorer.asked = json.dumps({**wanted, "kind": "cell", "count": 7, "window": [0, 1, 0, 1], "block": [1, 1]})
    assert json.loads(explorer.told)["value"] == str(data.values[1, 0, 0])
    explorer.asked = json.dumps({**wanted, "kind": "numbers", "count": 8})
    assert_allclose(np.frombuffer(explorer.numbers).reshape(40, 40), data.values[1])
    assert explorer.selected is None
    explorer.chosen = json.dumps({**wanted, "window": [4, 5, 6, 7], "block": [1, 1]})
    assert heard == [({"head": 1, "query": 4, "key": 6}, data.values[1, 4, 6])]
    assert explorer.selected == {"head": 1, "query": 4, "key": 6}


def test_other_numbers_take_the_place_of_the_old_ones_in_one_message():
    explorer = ArrayExplorer(similarity())
    explorer.show(similarity() * 2)
    assert explorer.seq == 2
    assert "the mean is 0.05," in json.loads(explorer.state)["alt"]
    assert explorer.busy
    explorer.acked = 2
    assert not explorer.busy


def test_panel_gives_the_same_answers():
    data, heard = similarity(), []
    here, there = ArrayExplorer(data), PanelArrayExplorer(data)
    assert (there.state, there.cells, there.setup) == (here.state, here.cells, here.setup)
    there.on_cell(lambda place, value: heard.append(place))
    there.wanted = json.dumps({**json.loads(there.first), "count": 5})
    assert json.loads(there.state)["count"] == 5
    there.chosen = json.dumps({**json.loads(there.first), "window": [4, 5, 6, 7]})
    assert heard == [{"head": 0, "query": 4, "key": 6}]


def test_a_page_keeps_to_its_bytes_and_says_what_is_not_in_it(tmp_path):
    data = array(12, 12, 256, 256, dims=("layer", "head", "query", "key"))
    explorer = ArrayExplorer(data)
    text = explorer.export_html(tmp_path / "page.html", limit=2_000_000)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text
    assert len(text) < 2_000_000 + 150_000
    shelf = json.loads(explorer.page_values(2_000_000)["shelf"])
    assert shelf["planes"][0]["index"] == {"layer": 0, "head": 0}
    assert shelf["planes"][0]["pieces"][0]["block"] == [1, 1]
    assert "of 144 planes in full and" in shelf["says"]
    small = json.loads(ArrayExplorer(similarity()).page_values()["shelf"])
    assert small["says"] == "This page holds 2 of 2 planes in full."


def test_a_plane_too_large_for_a_page_is_there_in_blocks():
    explorer = ArrayExplorer(array(4096, 4096))
    values = explorer.page_values(600_000)
    shelf = json.loads(values["shelf"])
    assert shelf["planes"][0]["pieces"][0]["block"] != [1, 1]
    assert shelf["says"] == "This page holds 0 of 1 planes in full and 1 in coarse blocks."
    assert len(values["pieces"]) <= 600_000


# The cursor


def test_a_move_goes_once_around_and_stops():
    cursor, told = Cursor(), []
    explorer, figure = (
        ArrayExplorer(similarity(), cursor=cursor),
        LiteFigure(go.Figure(go.Bar(y=[1, 2])), cursor=cursor),
    )
    cursor.join(lambda places: told.append(places))
    explorer.moved = {"places": {"head": 1, "token": 4, "key": 6}, "count": 1}
    assert (cursor.head, cursor.token, cursor.key) == (1, 4, 6)
    assert figure.cursor == explorer.cursor == {"head": 1, "token": 4, "key": 6}
    assert figure.moved == {}, "what a widget is told it does not say again"
    assert told[-1] == {"head": 1, "token": 4, "key": 6}
    count = len(told)
    figure.moved = {"places": {"token": 4}, "count": 1}
    assert len(told) == count, "a move to where the cursor is already tells nobody"
    figure.moved = {"places": {"token": None}, "count": 2}
    assert "token" not in explorer.cursor


def test_entries_are_plain_values_and_new_axes_are_added():
    cursor = Cursor("component", step=np.int64(3))
    assert cursor.places == {"step": 3}
    assert type(cursor.step) is int
    cursor.move(component="first", feature=np.float32(0.5))
    assert cursor.places == {"step": 3, "component": "first", "feature": 0.5}
    cursor.clear()
    assert cursor.places == {}
    for name in ("observe", "two words"):
        with pytest.raises(LabError, match="cannot have an axis called"):
            Cursor(name)
    cursor.heard({"places": {"observe": 1, "two words": 2, "unit": 3}})
    assert cursor.places == {"unit": 3}, "what a page says cannot break the cursor"


def test_a_slider_goes_to_the_nearest_step_and_does_not_push_the_cursor_there():
    cursor = Cursor()
    steps = SelectionSlider(options=[("0", 0), ("100", 100), ("300", 300)])
    exact = IntSlider(max=400)
    cursor.follow(steps, "step")
    cursor.follow(exact, "step")
    cursor.step = 120
    assert (steps.value, exact.value, cursor.step) == (100, 120, 120)
    steps.value = 300
    assert (exact.value, cursor.step) == (300, 300)
    cursor.step = None
    assert steps.value == 300


def test_other_code_can_listen_to_one_axis():
    cursor, heard = Cursor(), []
    cursor.observe(lambda change: heard.append(change["new"]), "unit")
    cursor.move(step=1, unit=2)
    assert heard == [2]


def test_a_closed_widget_is_forgotten():
    cursor = Cursor()
    explorer = ArrayExplorer(similarity(), cursor=cursor)
    explorer.close()
    cursor.step = 3
    cursor.step = 4
    assert explorer.cursor == {}
    assert not cursor._listeners
