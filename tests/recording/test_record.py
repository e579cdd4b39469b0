"""A recording keeps what was asked for, changes nothing, and is never silently empty."""

import pytest
import torch
from torch import nn

from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.parts.gate import Routing
from labkit.parts.tree import Branching
from labkit.recording.record import NothingRecorded, record


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), FastFeedforward(4, 4, depth=2, leaf_width=3))


def test_finds_routing_by_type_wherever_it_is(model):
    with record(model, Routing) as trace:
        model(torch.randn(5, 4))
    assert list(trace) == ["2.gate"]
    assert trace["2.gate"].choices == 4


def test_keeps_outputs_by_module_class_and_by_name(model):
    x = torch.randn(5, 4)
    with record(model, nn.ReLU) as by_class, record(model, "1") as by_name:
        model(x)
    assert torch.equal(by_class["1"], by_name["1"])
    assert list(by_name) == ["1"]


def test_a_module_that_runs_twice_keeps_both_calls():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    with record(model, nn.Linear) as trace:
        out = model(torch.randn(2, 3))
    assert len(trace.calls("0")) == 2
    assert torch.equal(trace["0"][1], out)


def test_values_are_detached_unless_asked_otherwise(model):
    with record(model, (Routing, Branching)) as trace:
        model(torch.randn(5, 4))
    assert not trace["2.gate"].weights.requires_grad
    with record(model, Branching, attached=True) as trace:
        model(torch.randn(5, 4))
    assert trace.every(Branching)[0].scores.requires_grad


def test_leaves_no_hook_behind_even_after_an_error(model):
    with pytest.raises(RuntimeError, match="shapes cannot"), record(model, Routing):
        model(torch.randn(5, 3))
    assert not any(module._forward_hooks for module in model.modules())


def test_the_answer_is_the_same_to_the_bit(model):
    x = torch.randn(5, 4)
    with record(model) as trace:
        watched = model(x)
    assert torch.equal(watched, model(x))
    assert torch.equal(trace["2"], watched)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda model: record(model, Routing, "nowhere.*"), "No module's name matches"),
        (lambda model: record(model[:2], Routing), "none returned or was Routing"),
    ],
)
def test_an_empty_recording_says_why(model, act, reason):
    with pytest.raises(NothingRecorded, match=reason), act(model):
        model(torch.randn(5, 4))


def test_a_model_that_did_not_run_says_so(model):
    with pytest.raises(NothingRecorded, match="did not run"), record(model, Routing):
        pass


def test_a_model_compiled_before_says_so_or_is_recorded(model):
    compiled = torch.compile(model, backend="eager")
    compiled(torch.randn(5, 4))
    try:
        with record(compiled, Routing) as trace:
            compiled(torch.randn(5, 4))
    except NothingRecorded as error:
        assert "compiled" in str(error)  # noqa: PT017
    else:
        assert len(trace) == 1


def test_asking_for_what_was_not_recorded_names_what_was(model):
    with record(model, Routing) as trace:
        model(torch.randn(5, 4))
    with pytest.raises(KeyError, match=r"2\.gate"):
        trace["gate"]
