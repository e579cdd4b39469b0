"""One batch tells everything that fits a model: the same numbers as one by one, once, and reasons for what is missing."""

import threading
import time

import numpy as np
import pytest
import torch
import xarray as xr
from foreign_models import HomeMadeExperts, hugging, tokens
from torch import nn
from walk import modules, short

from labkit.analysis.routing.choice_load import choice_load
from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording import observe as observing
from labkit.recording.batches import part_of
from labkit.recording.kinds import Activations
from labkit.recording.once import once
from labkit.recording.record import record
from labkit.workbench.inspection import inspect
from labkit.workbench.looked_at import looked_at
from labkit.workbench.measures import MEASURES
from labkit.workbench.routing_inspection import inspect_routing
from labkit.workbench.turns import Turns
from labkit.workbench.words_of_tokens import Words


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


class Layers(nn.Module):
    """Two mixtures at home, one after the other."""

    def __init__(self):
        super().__init__()
        self.into = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6))
        self.first, self.second = HomeMadeExperts(), HomeMadeExperts()

    def forward(self, x):
        return self.second(self.first(self.into(x)))


def rows(count: int = 40, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, width), torch.arange(count) % 3


def sentence_of(action) -> str:
    with pytest.raises(LabError) as refused:
        action()
    said = str(refused.value)
    assert said[0].isalpha()
    assert said.endswith((".", "…", "?"))
    assert "\n" not in said
    assert len(said) < 700
    return said


def test_every_measurement_equals_its_analysis_alone():
    model, batch = Layers().eval(), (torch.randn(30, 6), torch.arange(30) % 3)
    found = inspect(model, batch)
    assert found.left_out == {}
    assert list(found.measurements) == [measure.name for measure in MEASURES]
    for measure in MEASURES:
        alone = measure.analysis()(model, batch)
        xr.testing.assert_identical(found.measurements[measure.name], alone)


def test_every_measurement_is_one_of_the_analyses_and_none_is_named_twice():
    places = [measure.place for measure in MEASURES]
    assert len(set(places)) == len(places)
    known = {short(module).removeprefix("analysis.") for module in modules("analysis")}
    assert set(places) <= known


def test_the_model_runs_once_for_each_question_and_not_for_each_measurement(monkeypatch):
    model, runs = HomeMadeExperts().eval(), []
    seen = observing._observed
    monkeypatch.setattr(observing, "_observed", lambda *asked: (runs.append((asked[2], asked[4])), seen(*asked))[1])
    inspect(model, (torch.randn(30, 6), torch.arange(30) % 3))
    in_bfloat16 = (Routing, False)
    assert sorted(map(str, runs)) == sorted(
        map(str, [(Activations, False), (Routing, False), (Routing, True), in_bfloat16])
    )


def test_outside_of_once_every_look_is_a_new_one():
    model, x, ran = plain(), rows()[0], []
    model[0].register_forward_hook(lambda *_all: ran.append(1))
    with once():
        first = observing.observe(model, x, nn.ReLU)
        assert observing.observe(model, x, nn.ReLU) is first
        assert observing.observe(model, x.clone(), nn.ReLU) is not first
    assert observing.observe(model, x, nn.ReLU) is not first
    assert len(ran) == 3


def test_the_model_is_afterwards_as_before():
    model, batch = plain().train(), rows()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inspect(model, batch)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_of_many_inputs_some_are_taken_evenly_and_the_count_is_said():
    x, labels = rows(1000)
    found = inspect(plain(), (x, labels), only=["unit_activity"])
    assert (found.inputs, found.of) == (512, 1000)
    looked = looked_at((x, labels), images=np.arange(1000)[:, None, None] * np.ones((1, 2, 2)))
    assert looked.images is not None
    kept = looked.images(range(512))[:, 0, 0]
    assert torch.equal(looked.batch[0], x[kept.astype(int)])
    assert kept[-1] > 990


def test_what_is_not_there_is_one_short_sentence():
    left = inspect(plain(), rows()[0]).left_out
    assert left == {"everything on routing": "no router was found in this model."}

    class Router(nn.Module):
        def forward(self, x):
            return Routing(x.argsort(-1, descending=True)[:, :1], torch.ones(len(x), 1), x.shape[-1], x)

    left = inspect(Router(), rows()[0]).left_out
    assert left["everything on hidden units"] == "no block with hidden units was found in this model."
    assert "give (x, labels)" in left["choice_by_class"]


def test_tokens_carry_their_words_without_the_padding():
    model = hugging("MixtralForCausalLM")
    x = tokens(2, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    texts = [["a", "b", "", "", ""], ["d", "e", "f", "g", "h"]]
    texts[0][2] = "c"
    found = inspect(model, {"input_ids": x, "attention_mask": mask}, texts=texts)
    for name in ("token_choices", "token_entropy", "dropped_tokens"):
        assert found.measurements[name]["text"].values.tolist() == list("abcdefgh"), name


def test_a_token_without_a_text_is_told_from_padding_by_the_mask():
    real = torch.tensor([[True, True, False], [True, True, True]])
    words = Words.read([["a", "", ""], ["", "d", "e"]], real)
    assert words.of(5) == ["a", "", "", "d", "e"]
    assert words.part([1]).of(3) == ["", "d", "e"]
    spread = Words.read([["a", "", ""], ["c", "", "e"]], torch.tensor([[True, False, False], [True, True, False]]))
    assert spread.of(3) == ["a", "c", ""], "not the three that are not empty"


def test_padding_that_no_mask_tells_counts_as_tokens_and_keeps_the_words_in_place():
    words = Words.read([["a", "b", ""], ["c", "", ""]])
    assert words.of(3) == ["a", "b", "c"]
    assert words.of(6) == ["a", "b", "", "c", "", ""]
    assert words.of(5) is None


def test_names_of_classes_replace_their_numbers():
    model, batch = HomeMadeExperts().eval(), (torch.randn(30, 6), torch.arange(30) % 3)
    found = inspect(model, batch, classes=["red", "green", "blue"], only=["choice_by_class"])
    assert found.measurements["choice_by_class"]["class"].values.tolist() == ["red", "green", "blue"]
    assert "one for each label" in sentence_of(lambda: inspect(model, batch, classes=["red"]))


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((torch.randn(0, 6), torch.zeros(0).long()), "empty"),
        (None, "NoneType is no batch"),
        ((), "no batch"),
        (np.ones((3, 6)), "ndarray is no batch"),
        (torch.tensor(1.0), "no batch"),
        (torch.full((4, 6), torch.nan), "NaN, the first in input 0"),
        (torch.randn(4, 7), "could not be run on this batch ((4, 7) float32)"),
        (torch.randn(4, 6).double(), "give x.to(torch.float32)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_in_a_sentence(batch, says):
    assert says in sentence_of(lambda: inspect(plain(), batch))


def test_a_model_that_fails_says_what_it_said_in_few_words():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("oh no " * 200)

    said = sentence_of(lambda: inspect(Broken(), rows()[0]))
    assert "Broken could not be run on this batch ((40, 6) float32): ValueError: oh no" in said
    assert "torch.nn.Module" in sentence_of(lambda: inspect(len, rows()[0]))


def test_a_model_with_nothing_to_see_is_said_to_be_so():
    said = sentence_of(lambda: inspect(nn.Identity(), rows()[0]))
    assert said.startswith("Nothing could be measured in this model")
    assert "anatomy(model)" in said


def test_a_model_without_blocks_still_shows_its_weights():
    found = inspect(nn.Linear(6, 3), rows()[0])
    assert list(found.measurements) == ["weight_pattern"]


@pytest.mark.parametrize("texts", [["a"], [["a", "b"]] * 39, [["a", "b"]] * 40, "a text"])
def test_texts_of_another_length_are_refused(texts):
    assert "texts" in sentence_of(lambda: inspect(plain(), rows(), texts=texts))


def test_a_measurement_that_breaks_leaves_the_others(monkeypatch):
    from labkit.analysis.activity import unit_health

    def broken(*_all, **_more):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(unit_health, "unit_health", broken)
    found = inspect(plain(), rows())
    assert found.left_out["unit_health"] == "it did not work on this model: ZeroDivisionError: planted."
    assert "similarity" in found.measurements


def test_units_that_are_no_numbers_are_remarked():
    model = plain()
    model[2].weight.data[0] = torch.nan
    found = inspect(model, rows())
    assert [remark.split(" hold")[0] for remark in found.remarks] == ["The hidden units of 3"]
    assert inspect(plain(), rows()).remarks == ()


def test_another_number_format_is_measured_as_well():
    x, labels = rows()
    found = inspect(plain().bfloat16(), (x.bfloat16(), labels))
    assert "unit_activity" in found.measurements
    assert found.left_out == {"everything on routing": "no router was found in this model."}


def test_an_unknown_measurement_is_refused_and_a_known_one_taken_alone():
    assert "there is unit_activity" in sentence_of(lambda: inspect(plain(), rows(), only=["nothing"]))
    assert list(inspect(plain(), rows(), only=["spectrum"]).measurements) == ["spectrum"]


def test_what_takes_too_long_is_said_and_can_be_asked_for(monkeypatch):
    monkeypatch.setattr("labkit.workbench.inspection.PATIENCE", -1.0)
    said = sentence_of(lambda: inspect(plain(), rows()))
    assert "only=[...]" in said


def test_progress_goes_from_nothing_towards_one():
    told = []
    inspect(plain(), rows(), watch=lambda fraction, name: told.append((fraction, name)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] < 1
    assert told[0][1] == "unit_activity"


# A recorded routing


def test_a_recorded_routing_tells_the_same_as_the_running_model():
    model, x = Layers().eval(), torch.randn(30, 6)
    with record(model, Routing) as trace, torch.no_grad():
        model(x)
    found, left_out = inspect_routing(trace, labels=torch.arange(30) % 3)
    assert left_out == {}
    assert {"token_choices", "balance", "choice_by_class", "slot_usage"} <= set(found)
    np.testing.assert_array_equal(found["choice_load"].values, choice_load(model, x).values)


def test_a_recorded_routing_without_labels_says_so_and_wrong_texts_are_refused():
    with record(model := HomeMadeExperts().eval(), Routing) as trace, torch.no_grad():
        model(torch.randn(30, 6))
    found, left_out = inspect_routing(trace, texts=[str(one) for one in range(30)])
    assert found["token_choices"]["text"].values.tolist() == [str(one) for one in range(30)]
    assert "labels" in left_out["choice_by_class"]
    assert "texts names 2 tokens" in sentence_of(lambda: inspect_routing(trace, texts=["a", "b"]))
    assert "open_routing" in sentence_of(lambda: inspect_routing([1, 2]))
    assert "empty" in sentence_of(lambda: inspect_routing({}))


# One look at a time


def test_two_looks_never_overlap_and_of_one_name_the_last_waits():
    turns, done, inside = Turns(), [], threading.Event()
    leave = threading.Event()

    def long():
        with turns.mine():
            inside.set()
            leave.wait(5)
            done.append("long")

    thread = threading.Thread(target=long)
    thread.start()
    inside.wait(5)
    assert not turns.soon("unit", lambda: done.append("first"))
    assert not turns.soon("unit", lambda: done.append("second"))
    assert not turns.soon("token", lambda: done.append("third"))
    assert done == []
    leave.set()
    thread.join(5)
    end = time.monotonic() + 5
    while len(done) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert done == ["long", "second", "third"]
    assert turns.soon("unit", lambda: done.append("at once"))
    assert done[-1] == "at once"


def test_a_look_inside_a_look_does_not_wait_for_itself():
    turns, done = Turns(), []
    with turns.mine(), turns.mine():
        assert turns.soon("inner", lambda: done.append(1))
    assert done == [1]


def test_a_part_of_what_is_looked_at_keeps_its_words_and_pictures():
    x = torch.randn(6, 1, 5, 5)
    looked = looked_at(x, texts=[["a"], ["b"], ["c"], ["d"], ["e"], ["f"]])
    few = looked.first(2)
    assert torch.equal(few.batch, part_of(x, torch.arange(2)))
    assert few.words is not None
    assert few.words.of(2) == ["a", "b"]
    assert few.images is not None, "inputs that are pictures are shown without being asked"
    np.testing.assert_allclose(few.images([1])[0], x[1, 0].numpy())
    assert "one for each" in sentence_of(lambda: looked_at(x, images=np.ones((2, 5, 5))))
