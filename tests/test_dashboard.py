"""The dashboard's pages, built without a server: filters filter, clicks do what they say, errors are sentences."""

import io
import os
import shutil
import socket
import time
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import panel as pn
import pytest
import torch
import xarray as xr
from torch import nn

from labkit.dashboard import (
    app,
    compare,
    inside,
    layout,
    lens,
    look,
    measured,
    paper,
    papers,
    race,
    rerun,
    runs,
    source,
    study,
    subject,
)
from labkit.dashboard.recorded import RecordedCard
from labkit.dashboard.subject import built_in
from labkit.errors import LabError
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.recording.saving import save
from labkit.recording.watch import watch
from labkit.workbench import tracking
from labkit.workbench.find import study as find_study
from labkit.workbench.live import Live
from labkit.workbench.run import Run
from labkit.workbench.study import Progress

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def session():
    return layout.Session({})


@pytest.fixture(scope="session")
def small_run() -> Run:
    """A real run of the first study, far too short to show anything."""
    found = find_study("fast_feedforward")
    short = replace(found.at("smoke"), steps=4, measurements=2)
    return replace(found, scales={"smoke": short}).run("smoke")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """The file of a tracking store without runs; setting one up takes seconds, so it is copied where one is needed."""
    path = tmp_path_factory.mktemp("empty") / "runs.db"
    assert len(tracking.runs(f"sqlite:///{path}")) == 0
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory, empty_store, small_run) -> str:
    """The address of a tracking store with that run in it."""
    path = shutil.copy(empty_store, tmp_path_factory.mktemp("tracked") / "runs.db")
    tracking.log(small_run, f"sqlite:///{path}").result(120)
    return f"sqlite:///{path}"


@pytest.fixture
def recorded(tmp_path, monkeypatch, small_run):
    """A folder of assets with that run in it, in the place of the lab's own."""
    os.symlink(ROOT / "assets" / "data", tmp_path / "data", target_is_directory=True)
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    small_run.save()
    return tmp_path


def texts(contents) -> str:
    """All HTML below some contents, as one text."""
    column = pn.Column(*contents)
    return " ".join(str(pane.object) for pane in column.select(pn.pane.HTML))


# --- pages ---------------------------------------------------------------------------------------------------------


def test_the_race_page_says_what_it_will_train_and_shows_what_came_out(session, tmp_path, monkeypatch):
    from labkit.workbench.race import race as run_race

    (tmp_path / "data").symlink_to(ROOT / "assets" / "data", target_is_directory=True)
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    page = race.RacePage(session)
    assert page.wish.names == race.FIRST
    assert "24 trainings" in page.expects.object
    page.tune.value = False
    assert "12 trainings" in page.expects.object
    page.layers.value = []
    assert page.go.disabled
    assert "Choose a layer" in page.expects.object
    assert "No race is recorded" in texts(page.view())
    run = run_race(["low rank"], on="digits", seeds=2, steps=6, tune=False)
    run.save(tmp_path / "races")
    page.on.value = "digits"
    shown = texts(page.view())
    assert "Better than dense?" in shown
    assert "Low rank learns more than the dense layer" in shown
    assert "Size 51" in shown


def test_every_entry_of_the_navigation_is_a_page():
    pages = app.create()
    assert {name for name, _ in layout.NAVIGATION} <= set(pages)
    assert "/" in pages


def test_an_error_becomes_a_sentence_in_the_page_and_cannot_inject_markup(session):
    def build(_session):
        raise LabError("no <b>such</b> thing; take another.")

    layout.page(lambda _session: "Never", "papers", build, session)
    assert "no &lt;b&gt;such&lt;/b&gt; thing; take another." in session.message.object
    assert session.message.visible


def test_an_unforeseen_error_is_said_too(session):
    session.guarded(lambda: 1 / 0)()
    assert "ZeroDivisionError" in session.message.object


def test_the_page_starts_dark_when_the_address_says_so():
    assert layout.Session({"theme": "dark"}).dark
    assert not layout.Session({}).dark


def test_a_model_named_at_the_start_is_the_one_that_is_looked_at(own_file, monkeypatch):
    seen = []
    monkeypatch.setattr(layout, "page", lambda _title, _here, build, session: seen.append(session))
    app.create(model=f"{own_file}:make")["look"]()
    assert seen[0].arguments["model"] == f"{own_file}:make"


def test_a_taken_port_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=f"port {port}"):
            app.serve(port, False)


# --- papers --------------------------------------------------------------------------------------------------------


def test_all_papers_are_listed_and_a_page_shows_twenty_five(session):
    listing = papers.PaperList(session)
    assert len(listing.rows) == 527
    assert listing.list.object.count("<li>") == papers.PAGE_SIZE
    assert "<strong>527</strong>" in listing.count.object


def test_search_looks_at_title_mechanism_and_claim(session):
    listing = papers.PaperList(session)
    for words, expected in (("fast feedforward networks", "P120"), ("conditional matmul", "P135"), ("220x", "P120")):
        listing.words.value_input = words
        assert expected in {row.id for row in listing.rows}, words
        assert len(listing.rows) < 100


def test_search_that_finds_nothing_says_what_to_do(session):
    listing = papers.PaperList(session)
    listing.words.value_input = "zzzz"
    assert listing.rows == []
    assert "Clear" in listing.list.object
    listing.reset()
    assert len(listing.rows) == 527


@pytest.mark.parametrize("name", list(papers.FACETS))
def test_the_count_beside_a_choice_is_what_choosing_it_leaves(session, recorded, name):
    listing = papers.PaperList(session)
    listing.choices["chapter"].value = "feedforward"
    select = listing.choices[name]
    for label, code in list(select.options.items()):
        select.value = code
        assert label.endswith(f"({len(listing.rows)})")


def test_filters_combine_and_the_address_can_set_them():
    listing = papers.PaperList(layout.Session({"chapter": "feedforward", "status": "planned", "search": "tree"}))
    assert listing.rows
    assert all(row.chapter == "feedforward" and row.stage == "planned" for row in listing.rows)


def test_a_filter_in_the_address_that_does_not_exist_is_ignored():
    assert len(papers.PaperList(layout.Session({"chapter": "nothing"})).rows) == 527


def test_pages_go_forward_and_back_and_stop_at_the_ends(session):
    listing = papers.PaperList(session)
    assert listing.before.disabled
    first = listing.list.object
    listing.turn(1)
    assert listing.list.object != first
    listing.turn(-1)
    assert listing.list.object == first
    listing.turn(1000)
    assert listing.after.disabled
    listing.words.value_input = "tree"
    assert listing.place == 0


def test_verdicts_of_a_recorded_run_can_be_filtered(session, recorded):
    listing = papers.PaperList(session)
    listing.choices["verdict"].value = "out of reach"
    assert [row.id for row in listing.rows] == ["P120"]
    assert "Measured here" in listing.list.object


# --- one paper -----------------------------------------------------------------------------------------------------


def test_a_measured_paper_shows_its_verdicts_and_where_they_come_from(recorded):
    shown = texts(paper.build(layout.Session({"id": "P120"})))
    assert "out of reach" in shown
    assert "Where this comes from" in shown
    assert "./study?name=fast_feedforward" in shown
    assert "Peter Belcak" in shown
    assert "https://arxiv.org/abs/2308.14711" in shown


def test_a_paper_that_will_not_be_built_says_why():
    shown = texts(paper.build(layout.Session({"id": "P016"})))
    assert "Why it will not be built" in shown
    assert "iterature survey without its own method" in shown


def test_a_paper_of_every_chapter_has_a_page():
    for row in {row.chapter: row for row in papers.papers()}.values():
        assert escape(row.title) in texts(paper.build(layout.Session({"id": row.id})))


def test_an_unknown_paper_is_refused_with_near_ids():
    with pytest.raises(LabError, match="P12"):
        paper.build(layout.Session({"id": "P12"}))


def test_the_source_page_shows_what_the_catalogue_links_to_and_nothing_else():
    place = "labkit/layers/feedforward/fast_feedforward.py"
    assert "class FastFeedforward" in texts(source.build(layout.Session({"file": place})))
    for other in ("pyproject.toml", "../secret", "labkit/errors.py", ""):
        with pytest.raises(LabError, match="links to no file"):
            source.build(layout.Session({"file": other}))


# --- study ---------------------------------------------------------------------------------------------------------


def test_a_recorded_study_shows_claims_and_every_picture_draws(recorded, session, small_run):
    shown = texts(study.build(layout.Session({"name": "fast_feedforward"})))
    assert "out of reach" in shown
    assert "scale “smoke”" in shown
    names = []
    for picture in study.pictures(small_run.data):
        chosen = {label: values[0] for label, values in picture.choices.items()}
        for dark in (False, True):
            assert len(picture.draw(chosen, dark).data) > 0, picture.name
        names.append(picture.name)
    assert names == ["Curves", "Tree", "Leaf usage by class", "Hardening gap", "Latency", "Loss against cost"]


def test_every_choice_of_a_picture_draws(small_run):
    for picture in study.pictures(small_run.data):
        first = {label: values[0] for label, values in picture.choices.items()}
        for label, values in picture.choices.items():
            for value in values:
                assert picture.draw({**first, label: value}, False).data, (picture.name, label, value)


def test_a_study_without_a_recorded_run_says_how_to_get_one(recorded):
    for file in (recorded / "runs").iterdir():
        file.unlink()
    assert "No run of this study is recorded yet" in texts(study.build(layout.Session({"name": "fast_feedforward"})))


def test_a_broken_recorded_run_is_said_in_the_page(recorded, session):
    (recorded / "runs" / "fast_feedforward.nc").write_bytes(b"broken")
    page = study.StudyPage(session, "fast_feedforward")
    assert "checksum" in session.message.object
    assert "No run of this study is recorded yet" in texts(page.view())


def test_an_unknown_study_is_refused():
    with pytest.raises(LabError, match="fast_feedforward"):
        study.build(layout.Session({"name": "fast_feedforwrd"}))


class Slow:
    """Work that reports an accuracy at each step until it is stopped or told to end."""

    def __init__(self, ending=None):
        self.ending, self.started, self.stopped = ending, 0, False

    def __call__(self, watch, stop):
        self.started += 1
        for step in range(100_000):
            watch(Progress("arm", 0, step, 100_000, step / 100_000, {"test_accuracy": step / 1e6}))
            if stop.wait(0.005):
                self.stopped = True
                raise rerun_stopped()
            if step == 3 and isinstance(self.ending, Exception):
                raise self.ending
            if step == 3 and self.ending is not None:
                return self.ending
        return None


def rerun_stopped():
    from labkit.workbench.fit import Stopped

    return Stopped("Stopped; nothing was saved.")


@pytest.fixture
def controls(session, monkeypatch):
    """The run-it-here controls around any work; `done` collects what came out."""
    done = []

    def make(work):
        monkeypatch.setattr(rerun, "Live", lambda _study, scale, jobs: Live(work, scale, jobs=jobs))
        return rerun.Rerun(session, find_study("fast_feedforward"), None, lambda run, _first: done.append(run))

    make.done = done
    return make


def ended(shown: rerun.Rerun) -> rerun.Rerun:
    """The controls after the run's thread has ended and was looked at once more."""
    assert shown.live.wait(20)
    shown.look()
    return shown


def test_two_clicks_start_one_run_and_stop_ends_it(controls):
    work = Slow()
    shown = controls(work)
    shown.start()
    first = shown.live
    shown.start()
    assert shown.live is first
    assert shown.run.disabled
    assert not shown.stop.disabled
    shown.halt()
    ended(shown)
    assert work.started == 1
    assert work.stopped
    assert "Stopped" in shown.label.object
    assert not shown.run.disabled
    assert shown.stop.disabled
    assert controls.done == []


def test_the_curve_grows_while_a_run_goes_on(controls):
    shown = controls(Slow())
    shown.start()
    counts = []
    for _ in range(400):
        shown.look()
        if shown.pane.object is not None:
            counts.append(len(shown.pane.object.data[-1].x))
        if len(set(counts)) > 2:
            break
        time.sleep(0.01)
    shown.halt()
    ended(shown)
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


def test_a_finished_run_is_handed_on_and_a_new_one_can_start(controls, small_run):
    shown = controls(Slow(ending=small_run))
    shown.start()
    ended(shown)
    assert controls.done == [small_run]
    assert "Finished" in shown.label.object
    shown.start()
    ended(shown)
    assert controls.done == [small_run, small_run]


def test_a_failing_run_says_why_in_the_page(controls, session):
    shown = controls(Slow(ending=LabError("the loss is no longer a number; lower the learning rate.")))
    shown.start()
    ended(shown)
    assert "lower the learning rate" in session.message.object
    assert not shown.run.disabled


def test_a_visit_that_is_over_stops_the_run(controls, session):
    work = Slow()
    shown = controls(work)
    shown.start()
    session.visit.end()
    assert shown.live.wait(20)
    assert work.stopped


def test_a_run_that_finished_is_shown_and_tracked(recorded, empty_store, session, small_run):
    (recorded / "home").mkdir()
    shutil.copy(empty_store, recorded / "home" / "runs.db")
    page = study.StudyPage(session, "fast_feedforward")
    page.finished(small_run)
    assert "Your run, a moment ago" in texts(page.view())
    tracking._writer.submit(lambda: None).result(60)
    assert len(tracking.runs()) == small_run.data.sizes["arm"] * small_run.data.sizes["seed"]


# --- look inside ---------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A convolution and a tree on 8 x 8 images, untrained."""

    def __init__(self):
        super().__init__()
        self.see = nn.Conv2d(1, 3, 3)
        self.think = FastFeedforward(3 * 36, 10, depth=3, leaf_width=2)

    def forward(self, x):
        return self.think(self.see(x).flatten(1))


@pytest.fixture
def tiny() -> subject.Subject:
    return subject.with_inputs("tiny", Tiny().eval(), subject.load("digits"), "A model for the tests.")


def test_an_inputs_path_ends_where_the_gate_sends_it(tiny):
    hard = inside.recorded(tiny.model, tiny.x, (inside.Routing, inside.Branching))
    soft = inside.recorded(tiny.model, tiny.x, inside.Branching, soft=True)
    tree = inside.tree_of(hard, soft, "think.gate")
    for row in range(20):
        place = 0
        for node, right, _score in tree.path(row):
            assert node == place
            place = 2 * place + 1 + right
        assert place - len(tree.entropy) == int(tree.leaf[row])
        assert inside.choices(hard, "think.gate", row) == [(int(tree.leaf[row]), 1.0)]


def test_the_sides_of_the_root_share_out_all_inputs(tiny):
    hard = inside.recorded(tiny.model, tiny.x, (inside.Routing, inside.Branching))
    soft = inside.recorded(tiny.model, tiny.x, inside.Branching, soft=True)
    tree = inside.tree_of(hard, soft, "think.gate.decisions")
    left, right = tree.sides(0)
    assert sorted(left + right) == list(range(len(tiny.x)))
    below = tree.sides(1)
    assert sorted(below[0] + below[1]) == left
    np.testing.assert_allclose(float(tree.load.sum()), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [("see", (13, 13)), ("think", (1, 10)), ("think.gate", (1, 8)), ("think.gate.decisions", (1, 7))],
)
def test_activations_of_any_layer_are_a_table(tiny, layer, shape):
    assert inside.activation(tiny.model, tiny.x[:1], layer).shape == shape


def test_channels_are_tiled_without_changing_a_value(tiny):
    with torch.no_grad():
        truth = tiny.model.see(tiny.x[:1])[0].numpy()
    table = inside.activation(tiny.model, tiny.x[:1], "see").values
    np.testing.assert_array_equal(table[:6, :6], truth[0])
    np.testing.assert_array_equal(table[:6, 7:], truth[1])
    np.testing.assert_array_equal(table[7:, :6], truth[2])
    assert np.isnan(table[6]).all()


def test_every_layer_and_every_picture_of_the_lens_draws(tiny, session):
    shown = lens.Lens(session, tiny)
    assert "" in shown.layers
    for name in shown.layers:
        shown.layer.value = name
        for picture in shown.album.frames:
            shown.album.open(picture)
            assert shown.album.frames[picture].pane.object is not None, (name, picture)
    assert not session.message.visible, session.message.object


def test_another_input_changes_picture_answer_and_activations(tiny, session):
    shown = lens.Lens(session, tiny)
    shown.layer.value = "think"
    before = shown.picture.object, shown.answer.object, shown.album.frames["This input"].pane.object
    shown.index.value = 7
    after = shown.picture.object, shown.answer.object, shown.album.frames["This input"].pane.object
    assert all(one != other for one, other in zip(before[:2], after[:2]))
    assert before[2] is not after[2]


def test_a_class_narrows_the_inputs(tiny, session):
    shown = lens.Lens(session, tiny)
    shown.of.value = tiny.classes[3]
    assert {int(tiny.labels[row]) for row in shown.rows} == {3}
    shown.index.value = shown.index.end
    assert int(tiny.labels[shown.row]) == 3


def test_a_click_on_a_node_opens_its_sides(tiny, session):
    shown = lens.Lens(session, tiny)
    shown.layer.value = "think.gate"
    shown.album.frames["Tree"].pane.click_data = {"points": [{"customdata": [2, 0.5]}]}
    assert shown.node.value == 2
    assert shown.album.buttons.value == "Node by node"


def test_the_page_opens_a_built_in_model(session, tiny, monkeypatch):
    monkeypatch.setattr(look, "built_in_names", lambda: ["a", "b"])
    monkeypatch.setattr(look, "built_in", lambda name: replace(tiny, name=name))
    page = look.LookPage(session)
    assert page.subject.name == "a"
    page.model.value = "b"
    assert page.subject.name == "b"
    assert page.stage.objects


def measured_card(session, subject):
    shown = measured.Measured(session, subject)
    shown.measure()
    assert not session.message.visible, session.message.object
    return shown


def test_everything_that_fits_a_model_is_measured_and_drawn(tiny, session):
    shown = measured_card(session, tiny)
    assert {"choice_load", "token_choices", "choice_by_class"} <= set(shown.inspection.measurements)
    seen = set()
    for chapter in shown.book.chapter.options:
        shown.book.chapter.value = chapter
        for name, frame in shown.book.album.frames.items():
            shown.book.album.open(name)
            assert frame.pane.object is not None, (chapter, name, session.message.object)
            seen.add(name)
    assert {"Tokens", "Load"} <= seen


def test_a_model_of_text_is_measured_too_and_its_units_paint_the_text(session):
    subject = built_in("small language model, Lewis Carroll (not trained here)")
    shown = measured_card(session, subject)
    assert "unit_activity" in shown.inspection.measurements
    assert "text" in shown.inspection.measurements["active_fraction"].coords
    card = measured.UnitCard(session, subject)
    before = card.page.object
    assert "Alice" in "".join(subject.texts[0])
    card.weaker.clicks += 1
    assert card.unit.value == card.units.order(card.layer.value)[1]
    assert card.page.object != before
    card.layer.value = card.layer.options[-1]
    assert card.layer.value in card.told.object


def test_units_of_pictures_show_their_strongest_pictures(session):
    card = measured.UnitCard(session, built_in("convolutional network for digits (not trained here)"))
    assert card.place.objects == [card.figure]
    assert "what it answers to" in card.figure.object.layout.title.text


def test_a_model_without_hidden_units_has_no_card_of_them(session, tiny):
    bare = replace(tiny, model=torch.nn.Sequential(torch.nn.Linear(tiny.x.shape[1], 10)), loss=None)
    assert measured.unit_card(session, bare) == []


def test_a_file_of_another_program_is_opened_without_a_model(session, tmp_path):
    chosen = np.random.default_rng(0).random((60, 3, 8)).argsort(-1)[..., :2].astype(np.int16)
    np.save(tmp_path / "routed_experts.npy", chosen)
    session.arguments["file"] = str(tmp_path / "routed_experts.npy")
    page = look.LookPage(session)
    assert page.model.value == look.FILE
    assert not session.message.visible, session.message.object
    shown = page.recorded.book
    assert {"Tokens", "Load"} <= set(shown.album.frames)
    shown.album.open("Load")
    assert shown.album.frames["Load"].pane.object is not None
    assert page.subject is None


def test_a_training_that_was_watched_is_opened_from_its_file(session, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, every=1, optimizer=optimizer) as watching:
        for _ in range(8):
            model(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    shown = RecordedCard(session, str(save(watching.history, tmp_path / "kept.nc")))
    assert not session.message.visible, session.message.object
    assert {"Activations", "Training"} <= set(shown.book.chapter.options)


@pytest.mark.parametrize(
    ("name", "says"), [("", "path of a file"), ("missing.jsonl", "missing.jsonl"), ("bad.jsonl", "line 1")]
)
def test_a_file_that_cannot_be_shown_is_a_sentence(session, tmp_path, name, says):
    (tmp_path / "bad.jsonl").write_text('{"layer": 1, [')
    card = RecordedCard(session)
    card.path.value = str(tmp_path / name) if name else ""
    card.open.clicks += 1
    assert session.message.visible
    assert says in session.message.object
    assert not card.open.disabled


OWN = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(784, 5), torch.nn.ReLU(), torch.nn.Linear(5, 10))
def with_inputs():
    return make(), torch.rand(30, 784)
def with_labels():
    return make(), torch.rand(30, 784), torch.arange(30) % 10
def nothing():
    return None
def wrong():
    return torch.nn.Linear(3, 2)
def breaks():
    raise RuntimeError("out of ink")
"""


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("function", ["make", "with_inputs", "with_labels"])
def test_ones_own_model_is_opened_from_its_file(session, own_file, function):
    session.arguments["model"] = f"{own_file}:{function}"
    page = look.LookPage(session)
    assert not session.message.visible, session.message.object
    assert page.subject.name.endswith(function)
    assert page.stage.objects


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("mine.py", "names no model"),
        ("missing.py:make", "no file"),
        ("{file}:other", "no function other"),
        ("{file}:nothing", "NoneType"),
        ("{file}:wrong", "takes none of these inputs"),
        ("{file}:breaks", "out of ink"),
    ],
)
def test_what_is_wrong_with_ones_own_model_is_a_sentence(session, own_file, place, says):
    session.arguments["model"] = place.replace("{file}", str(own_file))
    page = look.LookPage(session)
    assert says in session.message.object
    assert page.stage.objects == []


# --- runs ----------------------------------------------------------------------------------------------------------


def test_an_empty_store_says_how_to_get_runs(empty_store):
    page = runs.RunsPage(layout.Session({"uri": f"sqlite:///{empty_store}"}))
    assert "Run it here" in page.message.object
    assert not page.compared.visible


def test_a_store_that_cannot_be_opened_is_a_sentence(session):
    session.arguments["uri"] = "sqlite:////proc/nowhere/runs.db"
    page = runs.RunsPage(session)
    assert session.message.visible
    assert page.shelf is None


def test_tracked_runs_are_listed_compared_and_exported(store, small_run):
    page = runs.RunsPage(layout.Session({"uri": store}))
    assert len(page.table.value) == small_run.data.sizes["arm"] * small_run.data.sizes["seed"]
    page.table.selection = [0, 3]
    assert len(page.ids) == 2
    lines = [trace for trace in page.pane.object.data if trace.showlegend]
    assert len(lines) == 2
    assert "test accuracy hard" in page.differ.object
    values = pd.read_csv(io.StringIO(page.values_csv()))
    assert set(values.run_id) == set(page.ids)
    curve = page.shelf.history(page.ids[0], "test_accuracy_hard")
    mine = values[(values.run_id == page.ids[0]) & (values.metric == "test_accuracy_hard")]
    np.testing.assert_allclose(mine.value, curve.values)
    assert len(pd.read_csv(io.StringIO(page.table_csv()))) == 2


def test_one_run_of_each_arm_is_ticked_at_first(store):
    page = runs.RunsPage(layout.Session({"uri": store}))
    arms = list(page.shelf.table.set_index("run_id").loc[page.ids, "params.arm"])
    assert len(arms) == len(set(arms)) == min(runs.TICKED, page.shelf.table["params.arm"].nunique())


def test_the_exported_page_needs_no_network(store):
    page = runs.RunsPage(layout.Session({"uri": store}))
    text = page.page_html()
    assert 'src="http' not in text
    assert "Compared runs" in text


def test_recorded_runs_are_listed_like_tracked_ones(recorded, small_run):
    page = runs.RunsPage(layout.Session({"from": "recorded"}))
    assert len(page.table.value) == small_run.data.sizes["arm"] * small_run.data.sizes["seed"]
    name = "fast_feedforward: dense 128, seed 1"
    shown = page.shelf.history(name, "test_accuracy_hard")
    truth = small_run.data.test_accuracy.sel(arm="dense 128", seed=1, mode="hard")
    np.testing.assert_allclose(shown.values, truth.values, rtol=1e-3)


def test_settings_that_are_equal_are_left_out_of_the_differences(store):
    shelf = compare.tracked(store)
    text = compare.differences(shelf, list(shelf.table.run_id[:2]))
    assert ">seed<" in text
    assert ">study<" not in text


def test_runs_that_differ_in_the_seed_only_become_one_arm(store, small_run):
    shelf = compare.tracked(store)
    merged = shelf.curves(list(shelf.table.run_id), "test_accuracy_hard", merged=True)
    assert merged.sizes["arm"] == small_run.data.sizes["arm"]
    assert merged.sizes["seed"] == small_run.data.sizes["seed"]
    arm = next(label for label in merged.arm.values if "dense 128" in label)
    truth = small_run.data.test_accuracy.sel(arm="dense 128", mode="hard").mean("seed")
    np.testing.assert_allclose(merged.sel(arm=arm).mean("seed").values, truth.values, rtol=1e-3)


def test_runs_with_other_steps_lie_on_one_axis():
    table = pd.DataFrame({"run_id": ["a", "b"], "name": ["a", "b"], "metrics.loss": [1.0, 2.0]})
    values = {
        "a": xr.DataArray([3.0, 1.0], dims="step", coords={"step": [0, 10]}),
        "b": xr.DataArray([4.0, 2.0], dims="step", coords={"step": [0, 7]}),
    }
    joined = compare.Shelf(table, lambda run_id, _metric: values[run_id]).curves(["a", "b"], "loss")
    assert joined.step.values.tolist() == [0, 7, 10]
    assert np.isnan(joined.sel(arm="a", step=7))
    assert float(joined.sel(arm="b", step=7)) == 2
