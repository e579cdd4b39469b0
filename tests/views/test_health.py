"""Units in poor health: shares, beginnings, events."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.health import health
from labkit.views.theme import alt_text


def marks(steps: int = 5, layers: int = 2, units: int = 10) -> xr.DataArray:
    """Dead units of the first layer: one more at every step from the third on; the last layer is half as wide."""
    values = np.zeros((steps, 3, layers, units))
    for step in range(2, steps):
        values[step, 0, 0, : step - 1] = 1
    values[:, :, -1, units // 2 :] = np.nan
    coords = {"step": np.arange(steps) * 10, "condition": ["dead", "saturated", "duplicate"]}
    coords["layer"] = [f"mlp.{at}" for at in range(layers)]
    return xr.DataArray(values, dims=("step", "condition", "layer", "unit"), coords=coords)


def begins(figure) -> list:
    return [trace for trace in figure.data if trace.name == "begins"]


def test_the_share_is_that_of_the_units_the_layer_has():
    data = marks()
    data[:, 1, 1, 0] = 1
    lines = {(trace.name, trace.yaxis): values_of(trace.y) for trace in health(data).data if trace.mode == "lines"}
    np.testing.assert_allclose(lines["mlp.0", "y"], [0, 0, 10, 20, 30])
    np.testing.assert_allclose(lines["mlp.1", "y2"], 20)


def test_where_a_condition_first_appears_is_marked_and_says_what_happened():
    (mark,) = begins(health(marks()))
    assert (list(mark.x), list(mark.y)) == ([20], [10.0])
    assert mark.text[0] == "mlp.0: 1 of 10 units dead, first seen at step 20"


def test_given_events_stand_at_their_layer_and_travel_with_the_figure():
    events = [
        {"step": 30, "where": "mlp.0", "kind": "units die", "says": "2 of 10 units (20%) are dead."},
        {"step": 10, "where": "mlp.1", "kind": "gradient explodes", "says": "no matter of health"},
    ]
    figure = health(marks(), events=events)
    (mark,) = begins(figure)
    assert (list(mark.x), list(mark.y)) == ([30], [20.0])
    assert [event["says"] for event in figure.layout.meta["events"]] == ["2 of 10 units (20%) are dead."]


def test_the_kinds_that_a_watched_training_reports_find_their_condition():
    saturates = {"step": 20, "where": "mlp.1", "kind": "layer saturates", "says": "5 of 5 units"}
    (mark,) = begins(health(marks(), events=[saturates]))
    assert mark.yaxis == "y2"


def test_many_layers_are_rows_with_one_scale_for_all_conditions():
    figure = health(marks(layers=9))
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(maps) == 3
    assert {one.zmax for one in maps} == {30}
    assert values_of(maps[0].z)[0].tolist() == [0, 0, 10, 20, 30]
    assert list(begins(figure)[0].y) == ["mlp.0"]


def test_without_steps_there_are_bars():
    figure = health(marks().isel(step=-1))
    assert [trace.type for trace in figure.data] == ["bar"] * 3
    assert values_of(figure.data[0].y).tolist() == [30, 0]
    assert values_of(figure.data[0].customdata).tolist() == [[3, 10], [0, 5]]


def test_the_counts_are_those_of_all_layers_also_of_those_not_drawn():
    data = marks(layers=70).isel(step=-1)
    figure = health(data)
    assert len(figure.data[0].x) == 60
    assert "Dead 3 of 695" in figure.layout.title.subtitle.text


def test_the_sentence_says_the_worst_layer():
    assert "dead: 3 of 15 units, most in mlp.0 (30\u00a0% of its units), first marked at step 20" in alt_text(
        health(marks())
    ).replace("Dead", "dead")


def test_numbers_that_are_no_marks_and_events_without_words_are_refused():
    with pytest.raises(LabError, match="0 \\(well\\) or 1"):
        health(marks() * 2)
    with pytest.raises(LabError, match="step, where, kind and says"):
        health(marks(), events=[{"step": 3}])


def test_a_condition_that_was_looked_for_at_some_steps_only_is_told_as_of_the_last_of_them():
    data = marks()
    data[3:, 0] = np.nan
    figure = health(data)
    assert "Dead 1 of 15" in figure.layout.title.subtitle.text
    data[:, 2] = np.nan
    assert "duplicate not looked for" in health(data).layout.title.subtitle.text


def test_the_place_of_an_event_may_say_more_than_the_layer():
    event = {"step": 30, "where": "mlp.0 unit 7", "kind": "units die", "says": "silent"}
    assert list(begins(health(marks(), events=[event]))[0].x) == [30]
    elsewhere = {**event, "where": "mlp.07"}
    assert "events" in health(marks(), events=[elsewhere]).layout.meta
    assert begins(health(marks(), events=[elsewhere]))[0].x == (20,), "what is told elsewhere is found in the numbers"
