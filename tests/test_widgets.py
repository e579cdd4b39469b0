"""What notebook widgets hold and send, without a browser: messages, bytes, states, and sentences where things fail."""

import json
import subprocess
import sys
from threading import Event

import numpy as np
import pytest
import xarray as xr
from ipywidgets import Button, Play, Widget

from labkit.errors import LabError
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.views.theme import BUDGET
from labkit.views.tree import example, tree
from labkit.widgets import lite_figure, live_curve, run_it_here
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.live_curve import Curve, Labels, LiveCurve, arms
from labkit.widgets.run_it_here import RunItHere, told
from labkit.widgets.source import page, write
from labkit.widgets.study_pictures import pictures
from labkit.widgets.study_view import StudyView
from labkit.widgets.tree_explorer import TreeExplorer, routes
from labkit.widgets.words import duration, message
from labkit.workbench.run import Run, open_run, recorded_runs
from labkit.workbench.study import Progress


@pytest.fixture(autouse=True)
def _closed():
    yield
    for control in list(run_it_here._shown.values()):
        control.close()
    Widget.close_all()


def drawn(dark: bool = False):
    return tree(**example(), dark=dark)


def spec(figure: LiteFigure) -> dict:
    return json.loads(figure.spec)


def sent_by(widget: Widget, monkeypatch: pytest.MonkeyPatch) -> list[set]:
    """What the widget sends from now on: the names in each message, in JSON or as bytes beside it."""
    names = []

    def send(data, **_rest):
        names.append({*data["state"], *(path[0] for path in data["buffer_paths"])})

    monkeypatch.setattr(widget.comm, "send", send, raising=False)
    return names


# A plotly figure


def test_plotly_travels_once_for_all_figures():
    first, second = LiteFigure(drawn()), LiteFigure(drawn())
    size = sum(len(value) for value in second.get_state().values() if isinstance(value, str | bytes))
    assert size < 100_000
    assert len(lite_figure.library().text) > 1_000_000
    assert lite_figure.library() is lite_figure.library()
    assert first.seq == second.seq == 1


def test_a_closed_library_is_made_anew():
    LiteFigure(drawn())
    before = lite_figure.library()
    Widget.close_all()
    figure = LiteFigure(drawn())
    assert lite_figure.library() is not before
    assert lite_figure.library().comm is not None
    lite_figure.library().close()
    figure._repr_mimebundle_()
    assert lite_figure.library().comm is not None


def test_a_figure_is_replaced_in_one_message(monkeypatch):
    figure = LiteFigure(drawn())
    sent = sent_by(figure, monkeypatch)
    figure.replace(drawn(dark=True))
    assert len(sent) == 1
    assert {"spec", "seq"} <= sent[0]


def test_a_figure_keeps_its_frames_and_its_alt_text():
    figure = LiteFigure(drawn())
    assert len(spec(figure)["frames"]) > 2
    assert figure.alt.startswith("Decision tree of depth 3")


def test_a_drawing_follows_the_theme_of_the_notebook():
    figure = LiteFigure(drawn)
    light = spec(figure)["layout"]["template"]["layout"]["paper_bgcolor"]
    figure.dark = True
    assert spec(figure)["layout"]["template"]["layout"]["paper_bgcolor"] != light
    assert figure.drawn_dark
    assert LiteFigure(drawn).drawn_dark, "the next figure begins in the theme that was seen last"
    figure.dark = False
    assert spec(figure)["layout"]["template"]["layout"]["paper_bgcolor"] == light


def test_a_click_calls_back_with_the_customdata_of_the_point():
    figure, heard = LiteFigure(drawn()), []
    figure.on_point(heard.append)
    figure.clicked = {"customdata": [3, 0.5], "count": 1}
    figure.clicked = {"customdata": [3, 0.5], "count": 2}
    figure.clicked = {"count": 3}
    assert heard == [[3, 0.5], [3, 0.5], None]


def test_of_changes_that_come_faster_than_the_browser_draws_only_the_last_is_sent(monkeypatch):
    monkeypatch.setattr(lite_figure, "PATIENCE", 1000.0)
    figure = LiteFigure(drawn())
    for dark in (True, False, True):
        figure.soon(drawn(dark))
    assert figure.seq == 1
    figure.acked = 1
    assert figure.seq == 2
    assert spec(figure)["layout"]["template"] == json.loads(drawn(True).to_json())["layout"]["template"]


def test_a_browser_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(lite_figure, "PATIENCE", 0.0)
    figure = LiteFigure(drawn())
    figure.soon(drawn(True))
    assert figure.seq == 2


# Growing curves


def unpacked(curve: LiveCurve) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the browser reads: the x and the y of each series by its name."""
    values, found, place = np.frombuffer(curve.points, dtype=np.float32), {}, 0
    for line in json.loads(curve.state)["series"]:
        count = line["count"]
        found[line["name"]] = values[place : place + count], values[place + count : place + 2 * count]
        place += 2 * count
    assert place == len(values)
    return found


def test_curves_arrive_as_they_were_given():
    curve = LiveCurve(Labels("Title", x="step", y="loss"))
    curve.show([Curve("a", [0, 1, 5], [0.5, np.nan, 0.25]), Curve("b", [], [], place=1)], fraction=0.5, status="half")
    found, state = unpacked(curve), json.loads(curve.state)
    np.testing.assert_array_equal(found["a"][0], [0, 1, 5])
    np.testing.assert_array_equal(found["a"][1], [0.5, np.nan, 0.25])
    assert len(found["b"][0]) == 0
    assert (state["fraction"], state["status"], state["title"], state["y"]) == (0.5, "half", "Title", "loss")


def test_series_differ_in_colour_and_dash_in_both_themes():
    curve = LiveCurve()
    curve.show([Curve(str(place), [0], [0], place) for place in range(8)])
    series = json.loads(curve.state)["series"]
    assert len({(line["light"], line["dash"]) for line in series}) == 8
    assert len({(line["dark"], line["dash"]) for line in series}) == 8


@pytest.mark.parametrize(("count", "length"), [(1, 1_000_000), (60, 20_000), (5000, 30)])
def test_any_recording_fits_the_budget_and_keeps_its_peak(count, length):
    y = np.random.default_rng(0).normal(size=length)
    y[length // 3] = 99
    curve = LiveCurve()
    curve.show([Curve(f"line {place}", np.arange(length), y, place, faint=place > 0) for place in range(count)])
    assert len(curve.points) + len(curve.state.encode()) <= BUDGET
    assert unpacked(curve)["line 0"][1].max() == 99
    assert "thinned" in json.loads(curve.state)["note"]


def test_a_curve_needs_as_many_x_as_y():
    with pytest.raises(LabError, match=r"'loss' needs as many x as y, and has \(3,\) and \(2,\)"):
        LiveCurve().show([Curve("loss", [0, 1, 2], [0, 1])])


def test_too_many_named_curves_are_refused():
    with pytest.raises(LabError, match="120 named curves at most, not 121"):
        LiveCurve().show([Curve(str(place), [0], [0]) for place in range(121)])


def test_a_picture_is_sent_in_one_message_and_is_busy_until_acknowledged(monkeypatch):
    monkeypatch.setattr(live_curve, "PATIENCE", 1000.0)
    curve = LiveCurve()
    curve.acked = curve.seq
    sent = sent_by(curve, monkeypatch)
    curve.show([Curve("a", [0], [1])])
    assert len(sent) == 1
    assert curve.busy
    curve.acked = curve.seq
    assert not curve.busy


def test_a_closed_tab_does_not_stop_the_painting(monkeypatch):
    monkeypatch.setattr(live_curve, "PATIENCE", 0.0)
    curve = LiveCurve()
    curve.show([])
    assert curve.acked < curve.seq
    assert not curve.busy


def test_the_bold_curve_is_the_mean_of_the_seeds_that_got_there():
    points = {
        ("tree", 0): ([0, 10, 20], [0.1, 0.5, 0.9]),
        ("tree", 1): ([0, 10], [0.3, 0.7]),
        ("dense", 0): ([0], [0.2]),
    }
    lines = arms(points)
    named = {line.name: line for line in lines if not line.faint}
    np.testing.assert_allclose(named["tree"].y, [0.2, 0.6, 0.9])
    assert [line.name for line in lines if line.faint] == ["tree, seed 0", "tree, seed 1"]
    assert named["dense"].place != named["tree"].place


def test_an_exported_page_holds_everything_and_no_title_breaks_it(tmp_path):
    curve = LiveCurve(Labels("</script><b>"))
    curve.show([Curve("</script><script>alert(1)</script>", [0, 1], [1, 2])])
    text = curve.export_html(tmp_path / "curve.html")
    assert (tmp_path / "curve.html").read_text() == text
    assert text.count("</script>") == 2
    assert "src=" not in text
    assert "<link" not in text
    assert len(text) < 100_000


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(LabError, match="could not be written: No such file"):
        write("text", tmp_path / "none" / "page.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LabError, match="could not be written"):
        write("text", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_bytes_in_a_page_are_marked_as_bytes():
    text = page("export default {};", "", {"points": b"\x01\x02", "seq": 1}, "t")
    assert '{"points": {"bytes": "AQI="}, "seq": 1}' in text


def test_panel_shows_the_same_module_and_the_same_numbers():
    from labkit.widgets.panel_live_curve import PanelLiveCurve

    lines = [Curve("a", [0, 1], [0.5, 0.25])]
    here, there = LiveCurve(), PanelLiveCurve()
    here.show(lines, fraction=0.25)
    there.show(lines, fraction=0.25)
    assert (there.state, there.points, there._esm) == (here.state, here.points, live_curve.SCRIPT)
    assert there.busy
    there.acked = there.seq
    assert not there.busy


# What is loaded


def test_notebook_widgets_load_neither_panel_nor_torch():
    modules = [
        "lite_figure",
        "live_curve",
        "run_it_here",
        "study_pictures",
        "study_view",
        "tree_explorer",
        "words",
        "source",
    ]
    lines = [f"import labkit.widgets.{module}" for module in modules]
    check = "import sys; print([name for name in ('panel', 'bokeh', 'torch', 'mlflow') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", "\n".join([*lines, check])], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_scripts_speak_to_the_model_only_as_notebook_and_panel_both_understand():
    import re

    for script in (live_curve.SCRIPT, LiteFigure._esm, lite_figure.PlotlyOnce._esm):
        text = script if isinstance(script, str) else str(script)
        assert set(re.findall(r"\bmodel\.(\w+)", text)) <= {"get", "set", "save_changes", "on", "off"}


# Run it here


class Work:
    """A stand-in for a study: three measurements, then it waits to be let go or stopped."""

    def __init__(self, result=None, error=None):
        self.result, self.error = result, error
        self.started, self.go, self.runs = Event(), Event(), 0

    def __call__(self, watch, stop):
        from labkit.workbench.fit import Stopped

        self.runs += 1
        for step in range(3):
            watch(Progress("tree", 0, step, 3, step / 3, {"test_accuracy": 0.1 * step}))
        self.started.set()
        while not self.go.wait(0.01):
            if stop.is_set():
                raise Stopped("stopped")
        if self.error is not None:
            raise self.error
        return self.result


def control(work: Work, name: str = "stand-in") -> RunItHere:
    made = RunItHere(work, name=name)
    made.curve.observe(
        lambda change: setattr(made.curve, "acked", change["new"]), "seq"
    )  # a browser that draws at once
    return made


def test_two_clicks_start_one_run():
    work = Work()
    shown = control(work)
    shown.run_button.click()
    shown.run_button.click()
    assert work.started.wait(10)
    assert not shown.start()
    work.go.set()
    assert shown.wait(10)
    assert work.runs == 1


def test_a_run_shows_its_curve_and_ends_with_its_claims():
    row = {"says": "It learns.", "rule": "Rises.", "measured": "0.2", "verdict": "shown", "seeds": 3}
    run = Run("made", "P120", "smoke", xr.Dataset(), [row], {})
    work, heard = Work(run), []
    shown = control(work)
    shown.on_done(heard.append)
    assert shown.state == "ready"
    shown.run_button.click()
    assert work.started.wait(10)
    assert shown.run_button.disabled
    assert not shown.stop_button.disabled
    work.go.set()
    assert shown.wait(10)
    assert shown.state == "done"
    assert heard == [run]
    assert shown.result is run
    np.testing.assert_allclose(unpacked(shown.curve)["tree"][1], [0, 0.1, 0.2], atol=1e-6)
    assert "It learns." in shown.claims.value
    assert not shown.run_button.disabled
    assert shown.stop_button.disabled


def test_stop_ends_the_run_and_it_can_be_run_again():
    work = Work()
    shown = control(work)
    shown.start()
    assert work.started.wait(10)
    shown.stop_button.click()
    assert shown.state in ("stopping", "stopped")
    assert shown.wait(10)
    assert shown.state == "stopped"
    assert "Nothing was kept" in shown.message.value
    work.go.set()
    assert shown.start()
    assert shown.wait(10)
    assert (shown.state, work.runs) == ("done", 2)


def test_an_error_in_the_thread_is_shown_as_a_sentence():
    for error, said in (
        (LabError("The disk is full."), "⚠ The disk is full."),
        (ValueError("odd <width>"), "odd &lt;width&gt;"),
    ):
        work = Work(error=error)
        work.go.set()
        shown = control(work)
        shown.start()
        assert shown.wait(10)
        assert shown.state == "failed"
        assert said in shown.message.value
        assert "alert" in shown.message.value


def test_an_error_before_the_training_is_shown_too(monkeypatch):
    shown = RunItHere("fast_fedforward", check=False)
    shown.start()
    assert shown.wait(10)
    assert "No study is called" in shown.message.value
    monkeypatch.setattr(run_it_here, "found", lambda study, scale: 1 / 0)
    shown.start()
    assert shown.wait(10)
    assert (shown.state, shown.run_button.disabled) == ("failed", False)
    assert "ZeroDivisionError" in shown.message.value


def test_running_the_cell_again_stops_the_run_of_before():
    first, second = Work(), Work()
    old = control(first)
    old.start()
    assert first.started.wait(10)
    new = control(second)
    assert old.wait(10)
    assert old.state == "stopped"
    assert old.comm is None
    new.start()
    assert second.started.wait(10)


def test_one_control_trains_at_a_time():
    first, second = Work(), Work()
    one, two = control(first, "one"), control(second, "two")
    one.start()
    assert first.started.wait(10)
    two.start()
    assert not second.started.wait(0.3)
    assert two.state == "waiting"
    first.go.set()
    assert second.started.wait(10)


def test_a_run_that_waits_can_be_taken_back():
    first, second = Work(), Work()
    one, two = control(first, "one"), control(second, "two")
    one.start()
    assert first.started.wait(10)
    two.start()
    two.stop()
    assert two.wait(10)
    assert (two.state, second.runs) == ("stopped", 0)
    assert one.going


def test_painting_waits_for_the_browser(monkeypatch):
    monkeypatch.setattr(live_curve, "PATIENCE", 1000.0)
    work = Work()
    shown = RunItHere(work, name="silent browser")
    shown.curve.acked = shown.curve.seq
    shown.start()
    assert work.started.wait(10)
    assert not Event().wait(0.5)
    assert shown.curve.seq <= 2, "one picture is under way, and no other before it is acknowledged"
    work.go.set()
    assert shown.wait(10)


def test_what_follows_a_run_may_fail_without_losing_the_run():
    work = Work("result")
    work.go.set()
    shown = control(work)
    shown.on_done(lambda _run: 1 / 0)
    shown.start()
    assert shown.wait(10)
    assert (shown.state, shown.result) == ("done", "result")
    assert "ZeroDivisionError" in shown.message.value


def test_an_unknown_study_or_scale_is_refused_at_once():
    with pytest.raises(LabError, match="No study is called 'fast_fedforward'"):
        RunItHere("fast_fedforward")
    with pytest.raises(LabError, match="no scale 'huge'"):
        RunItHere("fast_feedforward", "huge")


def test_a_study_is_run_at_the_scale_that_is_chosen(monkeypatch):
    sizes, work = [], Work()
    work.go.set()
    monkeypatch.setattr(run_it_here, "found", lambda study, scale: sizes.append(scale) or work)
    shown = RunItHere("fast_feedforward", "lesson", check=False)
    assert [value for _, value in shown.scale.options] == ["smoke", "lesson"]
    shown.scale.value = "smoke"
    assert "smoke" in shown.message.value
    shown.start()
    assert shown.wait(10)
    assert sizes == ["smoke"]
    assert not shown.scale.disabled
    assert control(Work()).scale not in control(Work()).children[0].children, "a function has no scales to choose from"


def test_a_study_says_how_much_it_trains_before_it_does():
    shown = RunItHere("fast_feedforward", "smoke")
    assert "2 seeds, 30 training steps each" in shown.message.value


def test_a_status_says_how_far_it_is_and_how_long_it_takes():
    assert (
        told("running", 0.25, "tree, seed 0, step 5 of 20", 10)
        == "25 % · tree, seed 0, step 5 of 20 · 10 s so far, about 30 s more"
    )
    assert told("stopping", 0.25, "", 10) == "25 % · stopping after this step"
    assert "last measurements" in told("running", 1.0, "tree", 10)
    assert [duration(seconds) for seconds in (0.42, 12, 185, 7800)] == ["0.4 s", "12 s", "3 min 5 s", "2 h 10 min"]


# The tree


def test_the_slider_replaces_the_tree_by_the_one_of_its_step():
    shown = TreeExplorer(**example())
    shown.figure.acked = shown.figure.seq
    last = shown.figure.alt
    shown.slider.value = 0
    assert shown.figure.alt != last
    assert len(shown.figure.spec) < 20_000
    assert "frames" not in spec(shown.figure) or not spec(shown.figure)["frames"]


def ring(figure: LiteFigure) -> tuple[float, float]:
    chosen = next(trace for trace in figure.figure.data if trace.name == "chosen node")
    return float(chosen.x[0]), float(chosen.y[0])


def test_a_click_on_a_node_chooses_it_and_a_click_on_a_leaf_does_not():
    shown = TreeExplorer(**example())
    shown.figure.acked = shown.figure.seq
    root = ring(shown.figure)
    shown.figure.clicked = {"customdata": [2.0, 0.1, 3.0, 4.0], "count": 1}
    assert shown.node.value == 2
    assert ring(shown.figure) != root
    shown.figure.clicked = {"customdata": 5, "count": 2}
    assert shown.node.value == 2


def test_a_tree_of_one_step_has_no_slider_and_needs_no_inputs():
    whole = example()
    shown = TreeExplorer(whole["entropy"].isel(step=-1), whole["load"].isel(step=-1))
    assert shown.slider not in shown.children[0].children
    assert shown.sides is None


def test_a_node_shows_the_surest_inputs_of_each_side_first():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((6, 4, 4), dtype=np.uint8)
    asked = []

    def images(rows):
        asked.append(list(rows))
        return pixels[rows]

    shown = TreeExplorer(**example(), images=images, route=lambda node: ([0, 1, 2], [4, 5], [-1, -3, -2, 0.5, 2]))
    assert asked == [[1, 2, 0], [5, 4]]
    assert "3 of 5 inputs left, 2 right" in shown.sides.figure.layout.title.text
    assert "surest" in shown.told.value


def test_a_node_without_inputs_and_a_failing_route_are_said_in_a_sentence():
    def route(node):
        if node:
            raise LabError("No inputs are loaded.")
        return [], [], None

    shown = TreeExplorer(**example(), route=route, images=lambda rows: None)
    assert "0 inputs come here" in shown.told.value
    shown.node.value = 1
    assert "No inputs are loaded." in shown.told.value


def test_the_route_of_a_model_follows_its_decisions():
    import torch

    layer, x = FastFeedforward(6, 3, depth=3, leaf_width=2), torch.randn(50, 6)
    route = routes(layer, x)
    left, right, scores = route(0)
    assert sorted([*left, *right]) == list(range(50))
    assert (scores[: len(left)] < 0).all()
    assert (scores[len(left) :] >= 0).all()
    for node in range(3):
        sides = route(node)[:2]
        for side, child in zip(sides, (2 * node + 1, 2 * node + 2)):
            assert sorted(np.concatenate(route(child)[:2])) == sorted(side)


def test_what_is_no_tree_is_refused():
    whole = example()
    with pytest.raises(LabError, match="tree needs the axis step in both"):
        TreeExplorer(whole["entropy"], whole["load"].isel(step=0))
    with pytest.raises(LabError, match="axis node"):
        TreeExplorer(xr.DataArray(np.zeros(3), dims="leaf"), xr.DataArray(np.ones(4) / 4, dims="choice"))


# A study


def made_run(shift: float = 0.0) -> Run:
    """Measurements with the axes of a study; the numbers are those of the views' own example."""
    whole, arm = example(), ["tree", "dense"]
    step = whole["entropy"]["step"].values
    value = 0.5 + shift + np.linspace(0, 0.3, len(step))
    accuracy = np.broadcast_to(value[None, None, :, None], (2, 2, len(step), 2)).copy()
    accuracy[:, 1] += 0.01
    accuracy[..., 0] += 0.02
    seeds, layer = [0, 1], ["slot"]

    def padded(values, dim):
        values = np.stack([values.values] * 2)[:, :, None]
        return ("arm", "seed", "step", "layer", dim), np.stack([values, np.full_like(values, np.nan)])

    share = np.full((2, 2, 1, 8, 3), np.nan)
    share[0] = 1 / 24
    margin = np.full((2, 2, len(step), 1, 5), np.nan)
    margin[0] = 0.2
    data = xr.Dataset(
        {
            "test_accuracy": (
                ("arm", "seed", "step", "mode"),
                accuracy,
                {"long_name": "test accuracy", "units": "fraction"},
            ),
            "training_loss": (
                ("arm", "seed", "step"),
                1 - accuracy[..., 0],
                {"long_name": "training loss", "units": "nats"},
            ),
            "node_entropy": padded(whole["entropy"], "node"),
            "leaf_load": padded(whole["load"], "choice"),
            "leaf_by_class": (("arm", "seed", "layer", "choice", "class"), share),
            "margin": (("arm", "seed", "step", "layer", "bin"), margin),
            "latency": (("timed", "batch", "width", "repeat"), np.geomspace(1e-5, 1e-3, 24).reshape(2, 1, 4, 3)),
        },
        coords={
            "arm": arm,
            "seed": seeds,
            "step": step,
            "layer": layer,
            "mode": ["soft", "hard"],
            "class": ["a", "b", "c"],
            "bin": np.arange(5) + 0.5,
            "timed": ["dense", "tree"],
            "batch": [1],
            "width": [64, 128, 256, 512],
        },
    )
    claims = [{"says": f"It rises by {shift}.", "rule": "Above 0.", "measured": "0.3", "verdict": "shown", "seeds": 2}]
    return Run("fast_feedforward", "P120", "smoke", data, claims, {"seeds": seeds, "duration_s": 3.0})


VIEWS = ("Curves", "Tree", "Leaf usage by class", "Hardening gap", "Latency")


def test_a_study_shows_every_view_that_its_measurements_allow():
    shown, told = StudyView(made_run()), set()
    assert tuple(shown.book.view.options) == VIEWS
    for name in VIEWS:
        shown.book.view.value = name
        assert shown.book.place.children == (shown.book.figure,)
        assert len(shown.book.figure.spec) <= BUDGET
        told.add(shown.book.figure.alt)
    assert len(told) == len(VIEWS)
    assert "" not in told
    assert "It rises by 0.0." in shown.claims.value


def test_a_view_offers_only_arms_that_have_what_it_draws():
    found = {picture.name: picture for picture in pictures(made_run().data)}
    assert found["Tree"].choices["Arm"] == ["tree"]
    assert found["Leaf usage by class"].choices["Arm"] == ["tree"]
    assert "Curves" not in {picture.name for picture in pictures(made_run().data[["latency"]])}
    assert pictures(xr.Dataset()) == []


def test_another_choice_draws_another_picture_and_stays_for_the_next_view():
    shown = StudyView(made_run())
    shown.book.view.value = "Tree"
    before, seed = shown.book.figure.spec, next(box for box in shown.book.choices.children if box.description == "Seed")
    seed.value = "1"
    assert shown.book.figure.seq == 3
    assert len(before) > 0
    shown.book.view.value = "Leaf usage by class"
    assert next(box.value for box in shown.book.choices.children if box.description == "Seed") == "1"


def test_a_missing_run_is_a_sentence_and_the_study_can_still_be_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    shown = StudyView("fast_feedforward")
    assert "No run of &#x27;fast_feedforward&#x27; is recorded" in shown.message.value
    assert shown.run_here in shown.children
    assert shown.book.figure is None
    assert StudyView("nonsense").run_here not in StudyView("nonsense").children


def test_a_broken_run_is_a_sentence(tmp_path):
    path = made_run().save(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    shown = StudyView(str(path))
    assert "is broken: its checksum should be" in shown.message.value
    assert "Traceback" not in shown.message.value


def test_a_run_made_here_is_shown_beside_the_recorded_one(tmp_path, monkeypatch):
    work = Work(made_run(0.1))
    work.go.set()
    monkeypatch.setattr(run_it_here, "found", lambda study, scale: work)
    shown = StudyView(str(made_run().save(tmp_path)))
    assert shown.showing not in shown.children
    shown.run_here.start()
    assert shown.run_here.wait(10)
    assert shown.showing in shown.children
    assert shown.showing.value == "the run made here"
    assert "It rises by 0.1." in shown.claims.value
    shown.showing.value = "the recorded run"
    assert "It rises by 0.0." in shown.claims.value


# What is written on them


def parts(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def test_no_label_is_cut_off():
    whole = [*parts(StudyView(made_run())), *parts(TreeExplorer(**example())), *parts(RunItHere(Work()))]
    labelled = [one for one in whole if getattr(one, "description", "") and not isinstance(one, Button | Play)]
    assert len(labelled) >= 5
    for one in labelled:
        assert getattr(one.style, "description_width", "initial") == "initial", one


def test_a_message_shows_markup_as_text():
    assert "&lt;b&gt;" in message("<b>")


@pytest.mark.parametrize("name", list(recorded_runs()))
def test_every_picture_of_a_recorded_run_can_be_drawn(name):

    found = pictures(open_run(name).data)
    assert found
    for picture in found:
        for place in (0, -1):
            figure = picture.draw({label: options[place] for label, options in picture.choices.items()}, False)
            assert figure.layout.meta["alt"], picture.name
