"""The pictures of speed and correctness: numbers are exact, break-even is where it is, and the Speed page shows them."""

import json
import re

import numpy as np
import panel as pn
import pytest
import xarray as xr

from labkit.dashboard import layout, racing, speed
from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.contract_board import contract_board
from labkit.views.contract_board import example as contract_example
from labkit.views.crossover import crossover
from labkit.views.goals import example as goals_example
from labkit.views.goals import goals
from labkit.views.speed_board import FLOOR, speed_board
from labkit.views.theme import alt_text
from labkit.workbench.fit import Stopped
from labkit.workbench.hold.places import Places
from labkit.workbench.scoreboard.board import Stage
from labkit.workbench.scoreboard.saved import BOARD, CONTRACT, CROSSOVER, write


def raced(**times: list[float]) -> xr.DataArray:
    """Median times by contestant at sizes 1, 2, ...; quartiles 10 % around them."""
    middle = np.array(list(times.values())).T
    coords = {"setting": [f"batch {place + 1}" for place in range(len(middle))], "quantile": [0.25, 0.5, 0.75]}
    values = np.stack([0.9 * middle, middle, 1.1 * middle], -1)
    return xr.DataArray(values, dims=("setting", "contestant", "quantile"), coords=coords | {"contestant": list(times)})


def trace(figure, name):
    return next(one for one in figure.data if one.name.replace("<br>", " ") == name)


def test_dots_and_whiskers_stand_where_the_numbers_are():
    figure = speed_board(raced(ours=[1e-6, 2e-6], dense=[1e-3, np.nan]))
    np.testing.assert_allclose(values_of(trace(figure, "ours").x), [1e-6, 2e-6], rtol=1e-5)
    np.testing.assert_allclose(values_of(trace(figure, "dense").x), [1e-3], rtol=1e-5)
    np.testing.assert_allclose(values_of(trace(figure, "dense").error_x.array), [1e-4], rtol=1e-3)
    assert list(trace(figure, "dense").y) == ["batch 1"]
    assert "ours 1 µs and dense 1 ms" in alt_text(figure).replace("\u00a0", " ")


def test_the_floor_is_a_mark_and_its_missing_is_none():
    data = raced(ours=[1e-6, 2e-6]).assign_coords(floor=("setting", [np.nan, 5e-7]))
    assert list(trace(speed_board(data), FLOOR).y) == ["batch 2"]
    assert [one.name for one in speed_board(raced(ours=[1e-6])).data] == ["ours"]


def test_a_hover_says_time_spread_and_how_many_times_as_long():
    data = raced(**{"ours": [1e-6], "dense|mkl": [2.5e-5]}).assign_coords(
        times=(("setting", "contestant"), [[np.nan, 25.0]])
    )
    told = trace(speed_board(data), "dense (mkl)").hovertext[0].replace("\u00a0", " ")
    assert told == "dense (mkl): 25 µs (22.5 µs to 27.5 µs), 25 times as long as ours"


def test_what_is_left_out_is_said():
    figure = speed_board(raced(ours=list(np.linspace(1e-6, 1e-3, 90))))
    assert "40 of 90 sizes" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_other_quantiles_and_times_of_zero_are_refused():
    with pytest.raises(LabError, match="needs the quantiles"):
        speed_board(raced(ours=[1e-6]).assign_coords(quantile=[0.1, 0.5, 0.9]))
    with pytest.raises(LabError, match="greater than 0"):
        speed_board(raced(ours=[0.0]))


def compared(rows: list[list[float]], axis: str = "width", sizes: tuple = (64, 128, 256)) -> xr.DataArray:
    coords = {"batch": [1, 16][: len(rows)], axis: list(sizes)}
    return xr.DataArray(np.array(rows, dtype=float), dims=("batch", axis), coords=coords)


def test_break_even_runs_between_the_cells_that_differ():
    figure = crossover(compared([[0.5, 2.0, 4.0], [0.5, 0.5, np.nan]]))
    line = trace(figure, "equally fast")
    ends = [(x, y) for x, y in zip(line.x, line.y) if x is not None]
    assert ends == [(0.5, -0.5), (0.5, 0.5), (0.5, 0.5), (1.5, 0.5)]


def test_without_break_even_there_is_no_line_and_the_words_say_so():
    figure = crossover(compared([[2.0, 3.0, 4.0]]))
    assert [one.type for one in figure.data] == ["heatmap"]
    assert "at batch 1 faster at every measured width" in alt_text(figure)


def test_the_words_name_the_sizes_of_the_change():
    words = alt_text(crossover(compared([[0.5, 2.0, 4.0], [0.1, 0.2, 1.5]])))
    assert "at batch 1 faster from width 128 on (64 is not); at batch 16 faster from width 256 on (128 is not)" in words


def test_equal_is_the_middle_of_the_colours_and_twice_as_fast_as_far_as_half():
    heat = crossover(compared([[0.25, 1.0, 4.0]])).data[0]
    assert values_of(heat.z).tolist() == [[-2.0, 0.0, 2.0]]
    assert heat.zmin == -heat.zmax


def test_shares_are_said_in_percent_and_missing_cells_stay_empty():
    heat = crossover(compared([[0.5, np.nan, 4.0]], "active", (0.5, 0.1, 0.01))).data[0]
    assert list(heat.text[0]) == ["0.5×", "", "4×"]
    assert "active 50\u00a0%: 0.5 times" in heat.hovertext[0][0]
    assert heat.hovertext[0][1] == ""


def test_ratios_that_are_none_are_refused():
    with pytest.raises(LabError, match="greater than 0"):
        crossover(compared([[0.0, 1.0, 2.0]]))


def test_a_goal_has_sign_word_and_reason_and_cannot_inject_markup():
    cases = goals_example(0)["cases"]
    cases[0]["goals"][0]["says"] = "<b>at least 5 times</b>"
    text = goals(cases)
    assert "&lt;b&gt;at least" in text
    assert "4 goals: 1 met, 1 missed, 1 out of reach, 1 not measurable" in text
    assert re.search(r"✗</span>missed", text)
    assert "somebody&#x27;s package is not installed" in text


@pytest.mark.parametrize(
    "given", ["board", [], [{"title": "", "goals": []}], [{"title": "", "goals": [{"verdict": "?"}]}]]
)
def test_goals_refuses_what_has_none(given):
    with pytest.raises(LabError, match=r"^goals needs"):
        goals(given)


def test_checks_are_signs_and_ours_stand_first():
    layers = [
        {
            "name": "Theirs",
            "package": "other",
            "version": "1",
            "ours": False,
            "checks": {"a": "it is wrong", "b": "passed"},
        },
        {
            "name": "Ours",
            "package": "labkit",
            "version": "1",
            "ours": True,
            "checks": {"a": "passed", "b": "exempt: why"},
        },
        {"name": "Few", "package": "other", "version": "1", "ours": False, "checks": {"a": "passed"}},
    ]
    heat = contract_board(layers).data[0]
    assert list(heat.x) == ["Ours", "Theirs, other", "Few, other"]
    assert [list(row) for row in heat.text] == [["✓", "✗", "✓"], ["–", "✓", ""]]
    assert "failed: it is wrong" in heat.hovertext[0][1]
    assert "1 layer ours: 1 checks passed, 1 exempt, 0 failed" in alt_text(contract_board(layers))


@pytest.mark.parametrize("given", ["layers", [], [{"name": "x"}]])
def test_a_board_without_layers_is_refused(given):
    with pytest.raises(LabError, match=r"^contract_board needs"):
        contract_board(given)


# --- the page ------------------------------------------------------------------------------------------------------

MADE = {
    "date": "2026-01-01T00:00:00",
    "seconds": 61.0,
    "commit": "abc",
    "machine": {"processor": "A processor, Linux", "cores": 2, "vectors": "AVX2", "python": "3"},
    "versions": {"torch": "2"},
    "threads": [1],
    "quick": False,
}
TIMES = {"median": 1e-5, "low": 9e-6, "high": 1.1e-5, "rounds": 9}
GOAL = {"says": "Fast & <right>", "verdict": "met", "measured": "6 times as fast", "why": ""}


def a_board() -> dict:
    row = {
        "setting": {"batch": 1},
        "clock": "processor time of one thread",
        "contestants": {"ours": TIMES, "dense": TIMES | {"times": [6, 5, 7]}, "peer": {"error": "out of <ink>"}},
        "floor": {"seconds": 1e-6, "bound": "memory", "says": "1 MB"},
    }
    case = {
        "name": "trees",
        "title": "Trees",
        "says": "Trees & others.",
        "rows": [row],
        "goals": [GOAL],
        "missing": ["gone"],
    }
    ceiling = {"matmul": {"MKL": 1e11, "best": 1e11}, "bandwidth": [[1e5, 1e11], [1e7, 1e10]]}
    return {"made": MADE, "ceilings": {"1": ceiling}, "cases": [case]}


def a_crossover() -> dict:
    axes = {"rows": {"name": "batch", "says": "inputs", "values": [1, 4]}}
    axes |= {"columns": {"name": "width", "says": "neurons", "values": [8, 16]}}
    tables = {name: [[0.5, 2.0], [None, 3.0]] for name in ("ratio", "low", "high", "ours", "dense")}
    return {"made": MADE, "grids": [{"name": "trees", "title": "Trees", "says": "A tree."} | axes | tables]}


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    return layout.Session({})


def shown(contents) -> tuple[str, list]:
    """All HTML below some contents as one text, and all figures."""
    column = pn.Column(*contents)
    return " ".join(str(pane.object) for pane in column.select(pn.pane.HTML)), [
        pane.object for pane in column.select(pn.pane.Plotly) if pane.object is not None
    ]


def test_an_empty_page_says_what_to_do(session):
    text, figures = shown(speed.build(session))
    assert figures == []
    for command in ("bench all --save", "bench crossover --save", "bench contract --save"):
        assert command in text


def test_the_page_opens_on_what_is_saved(session):
    write(a_board())
    write(a_crossover(), CROSSOVER)
    write({"layers": contract_example(0)["layers"], "made": {}}, CONTRACT)
    text, figures = shown(speed.build(session))
    assert not session.message.visible, session.message.object
    assert [figure.layout.title.text for figure in figures] == ["Trees", "Trees", "Who keeps the contract"]
    assert "Fast &amp; &lt;right&gt;" in text
    assert "out of &lt;ink&gt;" in text
    assert "Not raced, because not installed: gone" in text
    assert "A processor, Linux, 2 cores, AVX2" in text
    session.dark = True
    assert len(figures) == 3


def test_promises_that_could_not_be_measured_are_folded_away():
    gone = GOAL | {"says": "Twice as fast as somebody", "verdict": "not measurable", "measured": "", "why": "not here"}
    text = speed.verdicts([a_board()["cases"][0] | {"goals": [GOAL, gone]}])
    assert text.index("1 goals: 1 met") < text.index("<details>") < text.index("Twice as fast as somebody")
    assert "<details>" not in speed.verdicts(a_board()["cases"])


def test_a_broken_board_is_said_and_the_rest_is_shown(session, tmp_path):
    write(a_crossover(), CROSSOVER)
    (tmp_path / "runs" / "bench.json").write_text("{")
    _, figures = shown(speed.build(session))
    assert "bench.json cannot be read" in session.message.object
    assert len(figures) == 1


@pytest.fixture
def works(monkeypatch):
    """Measuring that does what the test says; `places` is a machine of two."""
    monkeypatch.setattr(racing, "work_of", lambda name: lambda watch, stop: works_now[0](watch, stop))
    monkeypatch.setattr(racing.Measuring.__init__, "__defaults__", (Places(2),))
    works_now = [lambda watch, stop: a_board()]
    return works_now


def test_what_was_measured_here_takes_the_place_of_the_saved_board(session, works):
    page = speed.SpeedPage(session)
    page.racing.start()
    assert page.racing.kept.live.wait(20)
    page.racing.look()
    text, figures = shown(page.view())
    assert "Your run, a moment ago" in text
    assert len(figures) == 1
    assert "Finished" in page.racing.label.object
    assert not page.racing.run.disabled
    again = speed.SpeedPage(session)  # the page was loaded again
    assert "Your run, a moment ago" in shown(again.view())[0]


def test_a_measuring_tells_where_it_is_and_stops(session, works):
    def slow(watch, stop):
        watch(Stage(0.4, "Trees: batch 1"))
        stop.wait(20)
        raise Stopped("Stopped; nothing was saved.")

    works[0] = slow
    page = speed.SpeedPage(session)
    page.racing.start()
    first = page.racing.kept
    page.racing.start()
    assert page.racing.kept is first
    for _ in range(500):
        page.racing.look()
        if "40 % · Trees: batch 1" in page.racing.label.object:
            break
        first.live._stop.wait(0.01)
    assert "40 % · Trees: batch 1" in page.racing.label.object
    page.racing.halt()
    assert first.live.wait(20)
    page.racing.look()
    assert "Stopped. Nothing was saved" in page.racing.label.object


def test_a_measuring_that_fails_says_why(session, works):
    def fails(watch, stop):
        raise LabError("no compiler is here; install one.")

    works[0] = fails
    page = speed.SpeedPage(session)
    page.racing.what.value = CROSSOVER
    page.racing.start()
    assert page.racing.kept.live.wait(20)
    page.racing.look()
    assert "no compiler is here" in session.message.object
    assert page.racing.what.value == CROSSOVER


def test_both_measurings_can_be_asked_for():
    assert set(racing.CHOICES.values()) == {BOARD, CROSSOVER}
    assert json.dumps(list(racing.CHOICES))
