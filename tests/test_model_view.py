"""Widgets that look into models, without a browser: what is shown is what was measured, and what fails is said."""

import json
import threading

import numpy as np
import pytest
import torch
from foreign_models import HomeMadeExperts, hugging, tokens
from ipywidgets import HTML, Widget
from torch import nn

from labkit.analysis.attention.attention_maps import attention_maps
from labkit.analysis.routing.forced_choice import forced_choice
from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.record import record
from labkit.recording.watch import watch
from labkit.views.theme import BUDGET
from labkit.widgets import lite_figure, threshold_explorer
from labkit.widgets.attention_explorer import AttentionExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.force_explorer import ForceExplorer
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.model_view import ModelView
from labkit.widgets.picture import Picture
from labkit.widgets.picture_book import PictureBook
from labkit.widgets.recorded_views import HistoryView, RoutingView
from labkit.widgets.threshold_explorer import ThresholdExplorer
from labkit.widgets.unit_explorer import UnitExplorer
from labkit.widgets.weight_explorer import ZEROS, WeightExplorer
from labkit.workbench.turns import TURNS

ERROR = 'role="alert"'


class Layers(nn.Module):
    """A block and two mixtures, as people write them."""

    def __init__(self):
        super().__init__()
        self.into = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6))
        self.first, self.second, self.out = HomeMadeExperts(), HomeMadeExperts(), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.second(self.first(self.into(x))))


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    monkeypatch.setattr(lite_figure, "PATIENCE", -1.0)  # no browser will acknowledge anything
    yield
    Widget.close_all()


def batch(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 6), torch.arange(count) % 3


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


def language() -> tuple[nn.Module, dict, list[list[str]]]:
    """A language model of random weights, a padded batch and its words."""
    x = tokens(2, 7)
    mask = torch.ones_like(x)
    mask[0, 5:] = 0
    texts = [[f"w{place}" if kept else "" for place, kept in enumerate(row)] for row in mask.tolist()]
    return hugging("LlamaForCausalLM"), {"input_ids": x, "attention_mask": mask}, texts


def opened(view: ModelView):
    """What is in the open tab."""
    return view.tabs.children[view.tabs.selected_index].children[0]


def shown(book: PictureBook):
    return book.place.children[0]


def alt(figure: LiteFigure) -> str:
    return json.loads(figure.spec)["layout"]["meta"]["alt"]


def every_picture(book: PictureBook) -> list[str]:
    """Turn to every picture with every choice; what was not drawn, as the book says it."""
    failed = []
    for pictures in book.chapters.values():
        for name in pictures:
            book.turn_to(name)
            for box in [None, *book.choices.children]:
                for value in box.options if box is not None else [None]:
                    if box is not None:
                        box.value = value
                    picture = shown(book)
                    if isinstance(picture, HTML):
                        failed.append(f"{name}: {picture.value}")
                    else:
                        assert len(picture.spec) <= BUDGET, name
                        assert picture.alt
    return failed


# The whole model


def test_every_picture_of_a_mixture_is_drawn_within_its_bytes():
    view = ModelView(Layers().eval(), batch())
    assert view.inspection.left_out == {}
    assert list(view.book.chapters) == ["Routing", "Activations", "Sparsity"]
    drawn = [name for pictures in view.book.chapters.values() for name in pictures]
    assert {"Tokens", "Load", "Balance", "Certainty", "Specialisation", "Flow between layers", "Flips"} <= set(drawn)
    assert {"Map of units", "Distribution", "Idle units", "Similarity of layers", "Active together"} <= set(drawn)
    assert every_picture(view.book) == []


def test_a_picture_shows_what_was_measured():
    view = ModelView(plain(), batch())
    view.book.turn_to("Map of units")
    activity = view.inspection.measurements["unit_activity"]
    view.book.choices.children[1].value = "one scale for all layers"
    trace = next(trace for trace in shown(view.book).figure.data if trace.type == "heatmap")
    drawn = np.unique(np.asarray(trace.z, dtype=float)[np.isfinite(np.asarray(trace.z, dtype=float))])
    measured = np.unique(activity.values[np.isfinite(activity.values)])
    np.testing.assert_allclose([drawn.min(), drawn.max()], [measured.min(), measured.max()], rtol=2e-3)


def test_there_is_a_tab_for_everything_the_model_has_and_no_other():
    assert ModelView(plain(), batch()).tabs.titles == ("Overview", "Units", "Thresholds", "Weights")
    model, inputs, texts = language()
    assert ModelView(model, inputs, texts=texts).tabs.titles == (
        "Overview",
        "Units",
        "Thresholds",
        "Attention",
        "Weights",
    )
    assert ModelView(Layers(), batch()).tabs.titles == ("Overview", "Units", "Thresholds", "What if", "Weights")
    assert ModelView(nn.Linear(6, 3), batch()).tabs.titles == ("Overview", "Weights")


def test_tabs_are_made_when_they_are_opened_and_kept():
    view = ModelView(Layers().eval(), batch())
    assert [len(tab.children) for tab in view.tabs.children] == [1, 0, 0, 0, 0]
    kinds = []
    for title in view.tabs.titles:
        view.turn_to(title)
        kinds.append(type(opened(view)))
    assert kinds == [PictureBook, UnitExplorer, ThresholdExplorer, ForceExplorer, WeightExplorer]
    before = opened(view)
    view.turn_to("Units")
    view.turn_to("Weights")
    assert opened(view) is before
    with pytest.raises(LabError, match="there is Overview, Units"):
        view.turn_to("Nothing")


def test_only_the_open_tab_follows_the_cursor_and_a_tab_catches_up():
    view = ModelView(Layers().eval(), batch())
    view.turn_to("Units")
    units = opened(view)
    view.turn_to("Overview")
    here = units.layer.value, units.unit.value
    other = next(name for name in units.units.layers if name != here[0])
    view.cursor.move(layer=other, unit=2)
    assert (units.layer.value, units.unit.value) == here
    view.turn_to("Units")
    assert (units.layer.value, units.unit.value) == (other, 2)


def test_many_inputs_are_thinned_for_all_tabs_alike_and_it_is_said():
    x, labels = batch(2000)
    pictures = np.arange(2000)[:, None, None] * np.ones((1, 3, 3))
    view = ModelView(Layers().eval(), (x, labels), images=pictures)
    assert "512 inputs, evenly from 2,000" in view.children[0].value
    view.turn_to("Units")
    facts = opened(view).facts
    place = int(facts.images["input"][0])
    original = int(facts.images.values[0, 0, 0])
    assert torch.equal(view.looked.batch[0][place], x[original])
    assert original != place


def test_what_was_left_out_and_what_is_no_number_is_said_above():
    model = plain()
    model[0].weight.data[1] = torch.nan
    view = ModelView(model, batch())
    said = view.children[0].value
    assert "no router was found in this model" in said
    assert "The hidden units of 1 hold NaN" in said
    assert "Not measured (" in said


@pytest.mark.parametrize(
    ("inputs", "settings", "says"),
    [
        (torch.randn(0, 6), {}, "The batch is empty"),
        (torch.randn(4, 9), {}, "could not be run on this batch"),
        (torch.randn(4, 6).double(), {}, "give x.to"),
        (torch.full((4, 6), torch.nan), {}, "NaN"),
        (torch.randn(4, 6), {"texts": [["a"]] * 3}, "texts has 3 rows and the batch 4 inputs"),
        (torch.randn(4, 6), {"images": np.ones((2, 3, 3))}, "images has 2 pictures"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_shown(inputs, settings, says):
    with pytest.raises(LabError) as refused:
        ModelView(plain(), inputs, **settings)
    assert says in str(refused.value)


def test_a_tab_that_fails_says_so_and_the_others_work():
    def broken(_places):
        raise OSError("the disk is gone")

    view = ModelView(plain(), batch(), images=broken)
    view.turn_to("Units")
    assert ERROR in opened(view).told.value
    assert "OSError: the disk is gone" in opened(view).told.value
    view.turn_to("Weights")
    assert isinstance(opened(view), WeightExplorer)


def test_closing_closes_all_and_the_cursor_leads_nowhere():
    view = ModelView(Layers().eval(), batch())
    view.turn_to("Units")
    units = opened(view)
    assert units._hears in view.cursor._trait_notifiers["unit"]["change"]
    unit, inner = units.unit.value, [units, units.layer, units.place, view.book, view.tabs]
    view.close()
    view.close()
    assert all(one.comm is None for one in [view, *inner])
    view.cursor.move(layer=units.layer.value, unit=unit + 1)
    assert units.unit.value == unit
    assert units._hears not in view.cursor._trait_notifiers["unit"]["change"], "the cursor would keep it alive"


def test_the_overview_is_exported_as_one_page(tmp_path):
    view = ModelView(plain(), batch())
    path = view.export(tmp_path / "page.html")
    text = path.read_text()
    names = [f"{chapter}: {name}" for chapter, pictures in view.book.chapters.items() for name in pictures]
    assert all(f"<h2>{name}</h2>" in text for name in names)
    assert "Measured on 60 inputs." in text
    assert '"parameters": 123' in text
    with pytest.raises(LabError):
        view.export(tmp_path / "no" / "such" / "folder.html")


def test_a_picture_that_fails_is_said_in_its_place_and_on_the_page(tmp_path):
    def broken(_chosen, _dark):
        raise ValueError("planted")

    good = ModelView(plain(), batch()).book.chapters["Sparsity"]["Active fraction"]
    book = PictureBook({"All": [Picture("Broken", "says", broken), good]})
    assert "planted" in shown(book).value
    book.turn_to("Active fraction")
    assert isinstance(shown(book), LiteFigure)
    text = book.export(tmp_path / "page.html").read_text()
    assert "Broken is not here: This did not work: ValueError: planted" in text
    with pytest.raises(LabError, match="no picture to export"):
        PictureBook({"All": [Picture("Broken", "says", broken)]}).export(tmp_path / "none.html")


# Units


def test_a_unit_is_reached_by_button_field_layer_and_cursor():
    model, cursor = Layers().eval(), Cursor()
    explorer = UnitExplorer(model, batch(), cursor=cursor)
    layer = explorer.layer.value
    order = explorer.units.order(layer)
    assert explorer.unit.value == order[0]
    explorer.weaker.click()
    assert explorer.unit.value == order[1]
    explorer.stronger.click()
    explorer.stronger.click()
    assert explorer.unit.value == order[0]
    assert cursor.places == {"layer": layer, "unit": order[0]}
    other = list(explorer.units.layers)[1]
    cursor.move(layer=other, unit=3)
    assert (explorer.facts.layer, explorer.facts.unit) == (other, 3)
    explorer.layer.value = layer
    assert (explorer.facts.layer, explorer.facts.unit) == (layer, order[0])
    cursor.move(layer="elsewhere", unit=1000)
    assert (explorer.facts.layer, explorer.facts.unit) == (layer, order[0])
    with pytest.raises(LabError, match="has the units 0 to"):
        explorer.show(layer, 1000)


def test_a_unit_is_shown_as_pictures_as_text_or_as_a_table():
    images = np.random.default_rng(0).random((60, 5, 5))
    pictures = UnitExplorer(plain(), batch(), images=images)
    assert len(pictures.place.children) == 1
    assert alt(pictures.place.children[0]).startswith("Unit")
    model, inputs, texts = language()
    text = UnitExplorer(model, inputs, texts=texts)
    assert "w3" in text.place.children[0].value
    table = UnitExplorer(plain(), batch())
    best = table.facts.strongest
    assert f"input {int(best['input'][0])}</td>" in table.place.children[0].value
    assert "this unit changes the loss by" in table.place.children[0].value
    assert isinstance(table.place.children[1], LiteFigure)
    for one in (*pictures.place.children, *text.place.children):
        assert len(getattr(one, "spec", b"") or one.value) <= BUDGET


def test_experts_that_see_some_tokens_name_them_as_such():
    explorer = UnitExplorer(Layers().eval(), batch())
    name = next(name for name in explorer.units.layers if "experts" in name)
    explorer.show(name, explorer.units.order(name)[0])
    assert "of those that reach it" in explorer.place.children[0].value
    assert "-1" not in explorer.place.children[0].value


def test_a_loss_that_fails_is_said_and_the_unit_is_shown():
    def broken(_output, _batch):
        raise ValueError("planted")

    explorer = UnitExplorer(plain(), batch(), loss=broken)
    assert "is not known: ValueError: planted." in explorer.told.value
    assert len(explorer.place.children) == 2


def test_a_unit_waits_while_another_look_goes_on_and_then_follows():
    explorer = UnitExplorer(plain(), batch())
    inside, leave = threading.Event(), threading.Event()

    def long():
        with TURNS.mine():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=long)
    thread.start()
    inside.wait(5)
    first = explorer.facts.unit
    explorer.weaker.click()
    explorer.weaker.click()
    assert "Another measurement is running" in explorer.told.value
    assert explorer.facts.unit == first
    leave.set()
    thread.join(5)
    assert explorer.facts.unit == explorer.units.order("1")[2]
    assert "Another measurement" not in explorer.told.value


# Thresholds


def measured(explorer: ThresholdExplorer) -> None:
    explorer.measure()
    assert explorer.worker is not None
    explorer.worker.join(60)
    assert not explorer.worker.is_alive()


def quick(monkeypatch) -> list[str]:
    """Measure for a short time; which layers were measured."""
    real, asked = threshold_explorer.threshold_tradeoff, []

    def shorter(model, batch, *, layers, loss):
        asked.append(layers)
        return real(model, batch, layers=layers, loss=loss, seconds=0.05)

    monkeypatch.setattr(threshold_explorer, "threshold_tradeoff", shorter)
    return asked


def test_thresholds_are_measured_once_in_the_background_and_drawn(monkeypatch):
    asked = quick(monkeypatch)
    explorer = ThresholdExplorer(plain(), batch())
    assert explorer.place.children == ()
    explorer.button.click()
    explorer.button.click()
    measured(explorer)
    assert asked == ["1"]
    assert isinstance(explorer.place.children[0], LiteFigure)
    assert len(explorer.figure.spec) <= BUDGET
    assert explorer.button.disabled, "it was measured"
    assert (
        len(json.loads(explorer.figure.spec)["layout"]["sliders"][0]["steps"]) == explorer.measured["1"].sizes["level"]
    )


def test_without_labels_or_loss_thresholds_say_so_at_once(monkeypatch):
    asked = quick(monkeypatch)
    explorer = ThresholdExplorer(plain(), batch()[0])
    measured(explorer)
    assert "There is nothing to lose that could be measured" in explorer.told.value
    assert asked == []
    assert not explorer.button.disabled
    other = ThresholdExplorer(plain(), batch()[0], loss=lambda output, _batch: output.square().mean())
    measured(other)
    assert isinstance(other.place.children[0], LiteFigure)


def test_thresholds_that_are_closed_while_they_are_measured_end_quietly(monkeypatch):
    quick(monkeypatch)
    explorer = ThresholdExplorer(plain(), batch())
    explorer.measure()
    explorer.close()
    explorer.worker.join(60)
    assert explorer.figure is None


# Attention


def test_attention_is_that_of_the_input_without_padding_and_counted_over_all_inputs():
    model, inputs, texts = language()
    cursor = Cursor()
    explorer = AttentionExplorer(model, inputs, texts=texts, cursor=cursor)
    maps = explorer.maps(1)
    alone = attention_maps(model, {name: value[1:] for name, value in inputs.items()}).isel(input=0)
    np.testing.assert_array_equal(maps.values, alone.values)
    assert maps["query"].values.tolist() == list(range(5, 12))
    first = explorer.maps(0)
    assert first.sizes["query"] == first.sizes["key"] == 5
    assert first["looks"].values.tolist() == ["w0", "w1", "w2", "w3", "w4"]
    cursor.move(token=9)
    assert explorer.input.value == 1
    assert explorer.place.children[0].reading.data.sizes["query"] == 7
    cursor.move(token=400)
    assert explorer.input.value == 1


def test_an_attention_map_that_is_left_is_closed():
    model, inputs, texts = language()
    explorer = AttentionExplorer(model, inputs, texts=texts)
    before = explorer.place.children[0]
    assert len(before.cells) <= BUDGET
    explorer.input.value = 1
    assert before.comm is None
    assert explorer.place.children[0].comm is not None


# What if


def test_a_token_is_sent_to_every_expert_and_the_bars_are_those_measured():
    model, (x, labels) = Layers().eval(), batch(8)
    cursor = Cursor()
    explorer = ForceExplorer(model, (x, labels), texts=[f"t{at}" for at in range(8)], cursor=cursor)
    assert "Token 0 “t0” in first" in explorer.told.value
    cursor.move(layer=explorer.layer.options[1], token=3)
    alone = forced_choice(model, (x, labels), layer=explorer.layer.options[1], token=3)
    np.testing.assert_array_equal(explorer.found.values, alone.values)
    bars = [trace for trace in explorer.figure.figure.data if trace.type == "bar"]
    np.testing.assert_allclose(np.asarray(bars[0].y, float), alone.sel(quantity="loss").values, atol=1e-3)
    assert "“t3”" in explorer.told.value


def test_what_if_counts_tokens_as_the_overview_does():
    view = ModelView(Layers().eval(), batch(2000))
    view.turn_to("What if")
    explorer, choices = opened(view), view.inspection.measurements["token_choices"]
    count = explorer.choices.sizes["token"]
    assert count >= 4
    np.testing.assert_array_equal(explorer.choices.values, choices.isel(token=slice(count)).values)


def test_the_same_token_is_not_tried_twice_and_an_error_is_said(monkeypatch):
    calls = []

    def counted(*all, **more):
        calls.append(more["token"])
        if more["token"] == 2:
            raise ValueError("planted")
        return forced_choice(*all, **more)

    monkeypatch.setattr("labkit.widgets.force_explorer.forced_choice", counted)
    explorer = ForceExplorer(Layers().eval(), batch(8))
    explorer.cursor.move(token=1)
    explorer.cursor.move(token=1, unit=3)
    assert calls == [0, 1]
    explorer.token.value = 2
    assert ERROR in explorer.told.value
    assert "planted" in explorer.told.value
    explorer.token.value = 3
    assert isinstance(explorer.place.children[0], LiteFigure)


# Weights


def test_weights_are_those_of_the_model_now_and_zeros_are_seen():
    model = plain()
    explorer = WeightExplorer(model)
    assert explorer.parameter.options == ("0.weight", "2.weight")
    explorer.parameter.value = "2.weight"
    np.testing.assert_array_equal(explorer.array.reading.data.values, model[2].weight.detach().numpy())
    assert len(explorer.array.cells) <= BUDGET
    explorer.kind.value = ZEROS
    assert "100\N{NO-BREAK SPACE}% of 36 weights are not zero" in alt(explorer.figure)
    half = model[2].weight.detach().clone()
    half[:, :6] = 0
    model[2].weight = nn.Parameter(half)
    explorer.parameter.value = "0.weight"
    explorer.parameter.value = "2.weight"
    assert "50\N{NO-BREAK SPACE}% of 36 weights are not zero" in alt(explorer.figure)
    assert WeightExplorer(model).kind.value == ZEROS, "a model with zeros begins with them"
    with pytest.raises(LabError, match="no weight matrix"):
        WeightExplorer(nn.ReLU())


# What was recorded


@pytest.fixture(scope="module")
def history():
    torch.manual_seed(0)
    model = Layers()
    x, labels = batch(200)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with watch(model, optimizer=optimizer, probe=x[:50], every=2) as watching:
        for _ in range(20):
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
    return watching.history


def test_every_picture_of_a_watched_training_is_drawn(history):
    view = HistoryView(history)
    drawn = {name for pictures in view.book.chapters.values() for name in pictures}
    expected = {"Distribution", "Idle units", "Map of units", "Load", "Routers", "Flips", "Gradients", "Updates"}
    assert drawn == expected
    assert every_picture(view.book) == []
    assert "from step" in view.children[0].value


def test_a_watched_training_is_exported(history, tmp_path):
    text = HistoryView(history).export(tmp_path / "history.html").read_text()
    assert "<h2>Activations: Distribution</h2>" in text
    assert "is not here" not in text


def test_gradients_are_shown_by_factors_of_the_largest(history):
    view = HistoryView(history)
    view.book.turn_to("Gradients")
    trace = shown(view.book).figure.data[0]
    names = [name for name in history.data["parameter"].values if str(name).endswith("weight")]
    norms = history.data["gradient_norm"].sel(parameter=names).transpose("parameter", "step")
    largest = float(history.data["gradient_norm"].max())
    expected = np.log10((norms.where(norms > 0) / largest).dropna("parameter", how="all").dropna("step", how="all"))
    np.testing.assert_allclose(np.asarray(trace.z, float), expected.values, atol=5e-3)


def test_what_is_no_history_or_an_empty_one_is_refused():
    with pytest.raises(LabError, match="not a dict"):
        HistoryView({})
    with pytest.warns(UserWarning, match="did not run"), watch(plain()) as watching:
        pass
    with pytest.raises(LabError, match="nothing was seen"):
        HistoryView(watching.history)


def test_a_recorded_routing_is_shown_without_the_model(tmp_path):
    model, (x, labels) = Layers().eval(), batch()
    with record(model, Routing) as trace, torch.no_grad():
        model(x)
    view = RoutingView(trace, labels=labels, texts=[f"t{at}" for at in range(60)], classes=["a", "b", "c"])
    assert {"Tokens", "Specialisation"} <= set(view.book.chapters["Routing"])
    assert every_picture(view.book) == []
    assert "Routing of 2 layers." in view.children[0].value
    assert "<h2>Load</h2>" in view.export(tmp_path / "routing.html").read_text()
    without = RoutingView(trace)
    assert "Specialisation" not in without.book.chapters["Routing"]
    assert "choice by class</b>: it compares with labels" in without.children[0].value
    with pytest.raises(LabError, match="open_routing"):
        RoutingView(None)
