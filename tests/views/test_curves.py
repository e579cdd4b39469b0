"""Curves: the interval is right, missing values are honest, names never collide."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from labkit.errors import LabError
from labkit.views.alternative import table, values_of
from labkit.views.curve_names import apart
from labkit.views.curves import curves, summarised
from labkit.views.seeds import smoothed
from labkit.views.theme import BUDGET, alt_text, faded, look, payload


def recording(values, **coords) -> xr.DataArray:
    dims = ("arm", "seed", "step")[-np.ndim(values) :]
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"long_name": "test accuracy", "units": "fraction"})


def spread(*levels: float) -> xr.DataArray:
    random = np.random.default_rng(0)
    values = np.array(levels)[:, None, None] + random.normal(0, 0.01, (len(levels), 5, 30))
    return recording(values, arm=[f"arm {place}" for place in range(len(levels))])


def means(figure) -> list:
    return [trace for trace in figure.data if trace.meta == "mean"]


def test_the_band_is_students_interval_of_the_mean():
    runs = np.random.default_rng(0).normal(size=(5, 4))
    line = summarised("a", runs)
    low, high = stats.t.interval(0.95, 4, runs.mean(0), stats.sem(runs))
    np.testing.assert_allclose(line.mean - line.half, low)
    np.testing.assert_allclose(line.mean + line.half, high)


def test_where_seeds_are_missing_the_interval_is_that_of_the_others():
    runs = np.random.default_rng(0).normal(size=(5, 3))
    runs[2:, 1] = np.nan
    runs[1:, 2] = np.nan
    line = summarised("a", runs)
    low, _ = stats.t.interval(0.95, 1, runs[:2, 1].mean(), stats.sem(runs[:2, 1]))
    assert line.mean[1] - line.half[1] == pytest.approx(low)
    assert line.mean[2] == runs[0, 2]
    assert np.isnan(line.half[2])


def test_one_seed_has_no_band_and_says_so():
    figure = curves(recording(np.linspace(0, 1, 20)[None]))
    assert len(figure.data) == 1
    assert "1 seed" in figure.layout.title.subtitle.text
    assert "1 seed" in alt_text(figure)


def test_the_axis_holds_the_bands_but_is_not_squashed_by_them():
    data = recording(np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0], [0.0, 0.5, 0.9]]))
    low, high = curves(data).layout.yaxis.range
    band = values_of(next(trace.y for trace in curves(data).data if trace.name == "upper"))
    assert low < 0
    assert band.max() < high
    few = recording(np.array([[0.0, 1.0], [0.1, 0.0]]))
    assert curves(few).layout.yaxis.range[1] < 1.7, "two seeds have an interval of several times the spread"


def test_hover_names_the_seed():
    figure = curves(spread(0.2, 0.8))
    names = [trace.name for trace in figure.data]
    assert "arm 1, seed 3" in names
    assert sum("seed" in name for name in names) == 10


def test_names_stand_at_the_ends_of_lines_that_lie_apart():
    figure = curves(spread(0.2, 0.8))
    assert [note.text.split("<")[1] for note in figure.layout.annotations] == ["b>arm 0", "b>arm 1"]
    assert figure.layout.showlegend is False
    assert figure.layout.margin.r > 60


def test_names_go_into_a_legend_where_lines_end_together():
    figure = curves(spread(0.5, 0.501))
    assert not figure.layout.annotations
    assert [trace.name for trace in figure.data if trace.showlegend] == ["arm 0", "arm 1"]


def test_lines_that_end_at_different_steps_are_named_in_a_legend():
    data = spread(0.2, 0.8)
    data[0, :, 20:] = np.nan
    figure = curves(data)
    assert not figure.layout.annotations
    assert np.isnan(values_of(means(figure)[0].y)[25])


def test_a_single_spike_in_a_million_steps_is_still_there():
    values = np.zeros((3, 200_000), dtype=np.float32)
    values[:, 123_456] = 7
    figure = curves(recording(values))
    assert values_of(means(figure)[0].y).max() == 7
    assert 123_456 in values_of(means(figure)[0].x)
    assert "thinned" in figure.layout.title.subtitle.text


def test_the_sentence_tells_direction_and_winner():
    steps = np.linspace(0, 1, 11)
    data = recording(np.stack([steps[None], 0.5 - 0.4 * steps[None]]), arm=["rising", "falling"])
    text = alt_text(curves(data))
    assert "rising rises from 0.00 to 1.00" in text
    assert "falling falls from 0.50 to 0.10" in text
    assert text.endswith("Rising ends highest.")


def test_names_are_shown_as_they_are_written():
    data = recording(np.random.default_rng(0).random((2, 3, 9)), arm=["a <b>bold</b> name", "x & y"])
    names = {trace.legendgroup: trace.name for trace in means(curves(data))}
    assert names == {"0": "a &lt;b&gt;bold&lt;/b&gt; name", "1": "x &amp; y"}


def test_many_arms_are_limited_and_that_is_said():
    data = recording(np.random.default_rng(0).random((40, 2, 9)), arm=[f"arm {place}" for place in range(40)])
    figure = curves(data)
    assert len(means(figure)) == 12
    assert "first 12 of 40 arms" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_another_axis_is_refused_with_advice():
    data = spread(0.2, 0.8).expand_dims(mode=["soft", "hard"])
    with pytest.raises(LabError, match=r"choose one mode first, for example data\.sel\(mode='hard'\)"):
        curves(data)


def test_names_along_the_axis_are_refused():
    data = xr.DataArray([1.0, 2.0], dims="step", coords={"step": ["a", "b"]})
    with pytest.raises(LabError, match="numbers along step"):
        curves(data)


# --- other x axes


def timed(**coords) -> xr.DataArray:
    data = spread(0.2, 0.8)
    steps = np.arange(30)
    return data.assign_coords(step=steps, examples=("step", 64 * steps), **coords)


def buttons(figure) -> dict:
    return {button.label: button.args for button in figure.layout.updatemenus[0].buttons}


def test_each_coordinate_along_the_steps_is_a_button_that_moves_every_trace():
    seconds = np.stack([np.arange(30) * 0.5, np.arange(30) * 2.0])
    figure = curves(timed(seconds=(("arm", "step"), seconds), flops=("step", np.arange(30) * 1e9)))
    assert list(buttons(figure)) == ["steps", "examples", "seconds", "FLOPs"]
    for args in buttons(figure).values():
        assert [len(values_of(x)) for x in args[0]["x"]] == [len(trace.x) for trace in figure.data]
    change, layout = buttons(figure)["seconds"]
    for trace, x in zip(figure.data, change["x"]):
        np.testing.assert_allclose(values_of(x), seconds[int(trace.legendgroup)], rtol=1e-6)
    assert layout["xaxis.title.text"] == "Seconds of training"
    assert layout["meta.axes.x"] == "seconds"
    assert figure.layout.meta["axes"] == {"x": "step"}
    back = buttons(figure)["steps"][0]["x"]
    assert all((values_of(x) == trace.x).all() for trace, x in zip(figure.data, back))


def test_seconds_that_differ_by_seed_move_each_seed_and_the_mean_to_their_mean():
    seconds = np.arange(30.0) * np.arange(1, 6)[:, None] * np.ones((2, 1, 1))
    change = buttons(curves(timed(seconds=(("arm", "seed", "step"), seconds))))["seconds"][0]
    figure = curves(timed())
    for trace, x in zip(figure.data, change["x"]):
        factor = int(trace.name[-1]) + 1 if trace.meta == "single" else 3
        np.testing.assert_allclose(values_of(x), np.arange(30) * factor, rtol=1e-6)


def test_coordinates_that_are_no_axis_make_no_button():
    assert not curves(spread(0.2, 0.8)).layout.updatemenus
    falling = timed(rate=("step", np.arange(30) % 7), phase=("step", ["a"] * 30), flat=("step", np.ones(30)))
    assert list(buttons(curves(falling))) == ["steps", "examples"]


def test_the_name_and_unit_of_a_coordinate_are_its_axis():
    data = timed()
    data["examples"].attrs = {"long_name": "sentences read", "units": "thousands"}
    assert buttons(curves(data))["examples"][1]["xaxis.title.text"] == "Sentences read (thousands)"


# --- events and references

EVENTS = [
    {"step": 12, "says": "half of the units died", "kind": "units die", "where": "layers.1"},
    {"step": 3, "says": "the rate was lowered", "kind": "rate", "where": ""},
]


def marks(figure):
    return next(trace for trace in figure.data if trace.meta == "events")


def test_events_are_numbered_marks_that_know_their_step():
    figure = curves(timed(), events=EVENTS)
    mark = marks(figure)
    assert list(mark.text) == ["<b>1</b>", "<b>2</b>"]
    assert list(mark.x) == [3, 12]
    assert list(mark.customdata) == [{"step": 3, "event": 0}, {"step": 12, "event": 1}]
    assert "layers.1: half of the units died, step 12" in mark.hovertext[1]
    assert figure.layout.meta["events"][1] == EVENTS[0]
    assert "step 12: half of the units died" in alt_text(figure)
    change = buttons(figure)["examples"][0]["x"]
    assert list(values_of(change[list(figure.data).index(mark)])) == [3 * 64, 12 * 64]


def test_events_may_be_objects():
    class Event:
        step, says, kind, where = np.int64(4), "something", "kind", "layer"

    assert list(marks(curves(spread(0.2), events=(Event(),))).customdata) == [{"step": 4, "event": 0}]


def test_an_event_between_recorded_steps_lies_between_them_on_every_axis():
    seconds = np.stack([np.arange(30) * 1.0, np.arange(30) * 3.0])
    figure = curves(timed(seconds=(("arm", "step"), seconds)), events=[{"step": 4.5, "says": "here"}])
    x = buttons(figure)["seconds"][0]["x"][list(figure.data).index(marks(figure))]
    assert values_of(x).tolist() == [9.0]


def test_marks_never_lie_on_each_other():
    close = [{"step": step, "says": f"event {step}"} for step in (3, 3, 4, 4, 4, 20)]
    mark = marks(curves(spread(0.2), events=close))
    assert [text.strip("</b>") for text in mark.text] == ["1", "2", "3+", "6"]
    assert len(set(mark.y[:3])) == 3
    assert mark.hovertext[2].count("<br>") == 2
    assert "5. event 4" in mark.hovertext[2]


def test_marks_have_a_strip_of_their_own_above_the_plot():
    plain, marked = curves(spread(0.2)), curves(spread(0.2), events=EVENTS)
    assert marked.layout.height > plain.layout.height
    assert marked.layout.yaxis.domain[1] == marked.layout.yaxis2.domain[0]
    assert marked.layout.yaxis.range == plain.layout.yaxis.range


def test_many_events_are_limited_and_that_is_said():
    figure = curves(spread(0.2), events=[{"step": step / 3, "says": "again"} for step in range(90)])
    assert len(figure.layout.meta["events"]) == 30
    assert max(one["event"] for one in marks(figure).customdata) < 30
    assert max(marks(figure).x) < 10
    assert "the first 30 of 90" in figure.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize(
    "event", [{"says": "no step"}, {"step": 3}, {"step": "soon", "says": "x"}, {"step": np.nan, "says": "x"}, 7]
)
def test_an_event_without_step_or_words_is_refused(event):
    with pytest.raises(LabError, match="events with a step"):
        curves(spread(0.2), events=[event])


def references(figure):
    return [trace for trace in figure.data if trace.meta == "reference"]


def test_the_papers_number_is_a_line_from_end_to_end_with_its_words():
    figure = curves(spread(0.2, 0.8), reference={"says": "paper: 98.4 %", "value": 0.984})
    (line,) = references(figure)
    assert list(line.x) == [0, 29]
    assert list(line.y) == [0.984, 0.984]
    assert figure.layout.yaxis.range[1] > 0.984
    assert [note.text for note in figure.layout.annotations][-1] == "paper: 98.4 %"
    assert "paper: 98.4 % (0.984)" in alt_text(figure)


def test_a_reference_far_away_does_not_flatten_the_curves():
    plain = curves(spread(0.2, 0.8)).layout.yaxis.range
    figure = curves(
        spread(0.2, 0.8), reference=[{"says": "in per cent", "value": 98.4}, {"says": "below", "value": -40}]
    )
    assert figure.layout.yaxis.range == plain
    assert [note.text for note in figure.layout.annotations][-2:] == ["↑ in per cent", "↓ below"]


def test_references_that_lie_close_are_named_above_and_below():
    given = [{"says": f"paper {place}", "value": 0.5 + place / 1000} for place in range(4)]
    notes = curves(spread(0.2, 0.8), reference=given).layout.annotations[-4:]
    assert len({(note.xanchor, note.yanchor) for note in notes}) == 4


@pytest.mark.parametrize(
    "reference", [{"says": "x"}, {"value": 3}, [{"says": "x", "value": np.nan}], [7], [{"says": "x", "value": 1}] * 7]
)
def test_a_reference_without_words_or_value_is_refused(reference):
    with pytest.raises(LabError, match="reference"):
        curves(spread(0.2), reference=reference)


# --- smoothing


def test_the_running_mean_is_the_mean_of_the_neighbours_that_are_there():
    rows = np.random.default_rng(0).normal(1e6, 1, (2, 40))
    rows[0, 5:9] = np.nan
    for window in (2, 5, 40):
        before, after = (window - 1) // 2, window // 2
        expected = [
            [
                np.nanmean(row[max(0, at - before) : at + after + 1]) if np.isfinite(row[at]) else np.nan
                for at in range(40)
            ]
            for row in rows
        ]
        np.testing.assert_allclose(smoothed(rows, window), expected, rtol=1e-14)


def test_what_was_measured_stays_visible_behind_a_smooth_line():
    values = np.random.default_rng(0).normal(size=(1, 300))
    figure = curves(recording(values), smooth=31)
    (raw,) = [trace for trace in figure.data if trace.meta == "single"]
    np.testing.assert_allclose(raw.y, values[0], rtol=1e-6)
    assert raw.name == "as measured"
    np.testing.assert_allclose(means(figure)[0].y, smoothed(values, 31)[0], rtol=1e-5)
    assert figure.layout.yaxis.range[0] < values.min()
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "running mean over 31 recorded values" in said
    assert "thin line: as measured" in said
    assert "31" in alt_text(figure)


def test_the_band_of_a_smooth_line_is_that_of_the_smooth_seeds():
    runs = np.random.default_rng(0).normal(size=(5, 50))
    line, plain = summarised("a", runs, 7), summarised("a", smoothed(runs, 7))
    np.testing.assert_array_equal(line.half, plain.half)
    np.testing.assert_array_equal(line.runs, runs)


@pytest.mark.parametrize("window", [0, -3, 2.5, 31])
def test_a_window_that_makes_no_sense_is_refused(window):
    with pytest.raises(LabError, match="curves smooths over 1 to 30"):
        curves(spread(0.2), smooth=window)


# --- long curves and many arms


def test_zooming_into_a_thinned_curve_shows_its_true_highest_and_lowest_values():
    random = np.random.default_rng(0)
    values = random.normal(size=100_000).cumsum() / 50 + random.normal(size=100_000)
    trace = means(curves(recording(values[None])))[0]
    x, y = values_of(trace.x), values_of(trace.y)
    assert len(x) < 30_000
    for width in (5_000, 1_000, 200):
        for start in random.integers(0, 100_000 - width, 50):
            inside = y[(x >= start) & (x < start + width)]
            true = values[start : start + width]
            core = true[40:-40]  # the stretches at the window's edges lie half outside
            assert inside.max() >= core.max() - 1e-4
            assert inside.min() <= core.min() + 1e-4


def test_a_hundred_thousand_points_with_other_axes_stay_in_the_budget():
    steps = np.arange(100_000)
    values = np.random.default_rng(0).normal(size=(11, 5, 100_000)).cumsum(-1).astype(np.float32)
    data = recording(values, step=steps, arm=[f"arm {place}" for place in range(11)])
    data = data.assign_coords(
        examples=("step", 64 * steps), seconds=("step", steps * 0.01), flops=("step", steps * 1e9)
    )
    assert payload(curves(data)) <= BUDGET
    assert payload(curves(data[:1, :1], smooth=501)) <= BUDGET


def eleven(ends=None) -> xr.DataArray:
    ends = np.random.default_rng(1).permutation(np.linspace(0.3, 0.9, 11)) if ends is None else ends
    values = ends[:, None, None] * np.linspace(0, 1, 30) + np.random.default_rng(0).normal(0, 0.004, (11, 3, 30))
    return recording(values, arm=[f"arm {place}" for place in range(11)])


def test_of_many_arms_the_ends_are_coloured_and_named_and_the_others_grey():
    data = eleven()
    figure = curves(data)
    order = np.argsort(-data.isel(step=-1).mean("seed").values)
    ends = [f"arm {place}" for place in (*order[:2], *order[-2:])]
    assert [note.text.split("<b>")[1].split("</b>")[0] for note in figure.layout.annotations] == ends
    strong = [trace for trace in means(figure) if trace.line.width == 3]
    assert sorted(trace.name for trace in strong) == sorted(ends)
    assert len({trace.line.color for trace in strong}) == 4
    grey = [trace for trace in means(figure) if trace.line.width < 3]
    assert len(grey) == 7
    assert {trace.line.color for trace in grey} == {faded(look().muted, 0.6)}
    assert {trace.name.split(",")[0] for trace in figure.data if trace.meta == "single"} == set(ends)


def test_many_arms_stand_in_the_legend_from_the_highest_to_the_lowest_and_a_click_isolates():
    data = eleven()
    figure = curves(data)
    shown = sorted(means(figure), key=lambda trace: trace.legendrank)
    order = np.argsort(-data.isel(step=-1).mean("seed").values)
    assert [trace.name for trace in shown] == [f"arm {place}" for place in order]
    assert figure.layout.legend.itemclick == "toggleothers"
    assert curves(spread(0.5, 0.501)).layout.legend.itemclick is None


def test_names_that_would_touch_move_apart_and_stay_near():
    spots = apart([300, 298, 100, 98], [60, 60, 60, 60], 370)
    assert all(upper - lower >= 60 - 1e-9 for upper, lower in itertools.pairwise(spots))
    np.testing.assert_allclose(spots, [329, 269, 129, 69])
    np.testing.assert_allclose(apart([370, 369, 368], [40, 40, 40], 370), [350, 310, 270])
    np.testing.assert_allclose(apart([300, 100], [60, 60], 370), [300, 100])


def test_the_events_are_in_the_table():
    text = table(curves(timed(), events=EVENTS))
    assert "events: what happened" in text
    assert "half of the units died" in text


def test_an_axis_is_called_by_its_own_name_in_the_title():
    data = xr.DataArray(
        [1.0, 2.0], dims="kept", coords={"kept": ("kept", [0.1, 0.2], {"long_name": "Share that is kept"})}
    )
    assert curves(data.assign_attrs(long_name="loss"), across="kept").layout.title.text == "Loss by share that is kept"
    bare = xr.DataArray([1.0, 2.0], dims="kept", coords={"kept": [0.1, 0.2]}, name="loss")
    assert curves(bare, across="kept").layout.title.text == "Loss by kept"
