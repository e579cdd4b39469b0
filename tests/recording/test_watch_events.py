"""What happens in a training is noticed, once, where and when it begins; and nothing where nothing happens."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.parts.gate import Routing
from labkit.recording.events import Alarms
from labkit.recording.history import GateRow, Row, UnitRow
from labkit.recording.moments import Moments
from labkit.recording.watch import watch


def kinds(events):
    return [(event.where, event.kind) for event in events]


def train(model, steps, break_at=None, harm=None, size=256, every=4, **options):
    """Train a classifier of six numbers, and harm it at a step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.manual_seed(1)
    with watch(model, every=every, optimizer=optimizer, **options) as watching:
        for step in range(1, steps + 1):
            if step == break_at:
                harm(model)
            x = torch.randn(size, 6)
            optimizer.zero_grad()
            F.cross_entropy(model(x), x.argmax(1) % 3).backward()
            optimizer.step()
    return watching


def mlp(activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), activation(), nn.Linear(20, 10), activation(), nn.Linear(10, 3))


def kill_half(model):
    with torch.no_grad():
        model[0].bias[:10] = -100


def test_a_quiet_training_has_no_events():
    assert train(mlp(), 60).history.events == ()


def test_units_that_die_are_noticed_at_the_step_where_they_fell_silent():
    watching = train(mlp(), 120, break_at=50, harm=kill_half)
    (event,) = watching.history.events
    assert kinds([event]) == [("1", "units die")]
    assert 50 <= event.step <= 54
    assert "10 of 20 units (50%)" in event.says
    dead = watching.history["unit_health"].sel(condition="dead", layer="1").sum("unit")
    assert float(dead.sel(step=slice(None, 49)).max()) == 0
    assert (dead.sel(step=slice(54, None)) == 10).all()


def test_a_unit_that_is_merely_rare_is_not_called_dead():
    model = mlp()
    with torch.no_grad():
        model[0].weight[0] = torch.tensor([1.0, 0, 0, 0, 0, 0])
        model[0].bias[0] = -2.3  # active on one input in a hundred
    watching = train(model, 60)
    assert float(watching.history["dead"].sel(layer="1", unit=0).max()) == 0


def test_a_saturated_layer_is_noticed():
    def saturate(model):
        with torch.no_grad():
            model[0].weight *= 1e4

    watching = train(mlp(nn.Tanh), 60, break_at=30, harm=saturate)
    assert ("1", "layer saturates") in kinds(watching.history.events)
    found = watching.history["saturated"].sel(layer="1")
    assert float(found.isel(step=0).sum()) == 0
    assert float(found.isel(step=-1).mean()) > 0.9


def test_a_unit_behind_a_relu_that_says_the_same_to_everybody_is_saturated():
    model = mlp()
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = 0, 2.0
    watching = train(model, 20, every=1)
    found = watching.history["saturated"].sel(layer="1")
    assert float(found.isel(step=0)[3]) == 1
    assert float(found.isel(step=0).sum()) == 1


def test_copies_of_a_unit_are_duplicates():
    model = mlp()
    with torch.no_grad():
        model[0].weight[7], model[0].bias[7] = model[0].weight[2] * 3, model[0].bias[2] * 3
    watching = train(model, 6, every=1)
    found = watching.history["duplicate"].sel(layer="1")
    assert np.flatnonzero(found.isel(step=0)[:20]).tolist() == [7]
    assert found[:, :20].notnull().all()


def test_an_exploding_gradient_is_noticed_with_the_parameter_where_it_is_largest():
    def blow_up(model):
        with torch.no_grad():
            model[4].weight *= 1e4

    watching = train(mlp(), 60, break_at=40, harm=blow_up)
    first = next(event for event in watching.history.events if event.kind == "gradient explodes")
    assert 40 <= first.step <= 44
    assert first.where in dict(mlp().named_parameters())


def test_a_vanished_gradient_is_noticed():
    def starve(model):
        with torch.no_grad():
            model[4].weight *= 0
            model[4].bias[:] = torch.tensor([50.0, -50.0, -50.0])

    watching = train(mlp(), 60, break_at=40, harm=starve)
    assert not any(event.kind == "gradient vanishes" for event in watching.history.events)  # it is large, if anything
    alarms = Alarms()
    norms = [1.0] * 8 + [1e-5, 1e-5, 1.0, 0.0]
    events = [alarms.gradients(step, {"w": norm}) for step, norm in enumerate(norms)]
    assert [bool(found) for found in events] == [False] * 8 + [True, False, False, True]


def test_what_is_no_number_is_noticed_in_activations_gradients_and_answer():
    def poison(model):
        with torch.no_grad():
            model[2].weight[0, 0] = float("nan")

    watching = train(mlp(), 40, break_at=20, harm=poison)
    found = kinds(watching.history.events)
    assert ("3", "not a number") in found
    assert ("the answer", "not a number") in found
    assert any(kind == "not a number" and "weight" in where for where, kind in found)
    assert len(found) == len(set(found))
    assert min(event.step for event in watching.history.events) in range(20, 25)


def gate(load, inputs=4000, dead=()):
    load = np.asarray(load, float) * inputs
    flags = np.zeros(len(load), bool)
    flags[list(dead)] = True
    return GateRow(inputs, load, load, flags, 0.5)


def test_a_router_collapses_once_and_again_after_a_recovery():
    even, one = [1 / 8] * 8, [0.93] + [0.01] * 7
    alarms = Alarms()
    rows = [Row(step, 0, 0.0, gates={"g": gate(load)}) for step, load in enumerate((even, one, one, even, one))]
    assert [kinds(alarms.check(row)) for row in rows] == [
        [],
        [("g", "router collapses")],
        [],
        [],
        [("g", "router collapses")],
    ]


def test_an_expert_that_gets_nothing_any_more_is_named():
    alarms = Alarms()
    assert alarms.check(Row(1, 0, 0.0, gates={"g": gate([0.25] * 4)})) == []
    (event,) = alarms.check(Row(2, 0, 0.0, gates={"g": gate([0.5, 0, 0.5, 0], dead=(1, 3))}))
    assert event.kind == "expert dies"
    assert "choices 1, 3 get nothing" in event.says
    assert alarms.check(Row(3, 0, 0.0, gates={"g": gate([0.5, 0, 0.5, 0], dead=(1, 3))})) == []


class Starving(nn.Module):
    """A router that sends nothing to its last expert from a step on."""

    def __init__(self):
        super().__init__()
        self.scores, self.experts, self.closed = nn.Linear(6, 4), 4, False

    def forward(self, x) -> Routing:
        scores = self.scores(x)
        if self.closed:
            scores = scores - 100 * F.one_hot(torch.tensor(3), 4)
        best, index = scores.topk(1, -1)
        return Routing(index, best.sigmoid(), 4, scores)


def test_an_expert_dies_in_a_real_training():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.out = Starving(), nn.Linear(6, 3)

        def forward(self, x):
            return self.out(x) * self.gate(x).weights

    watching = train(Model(), 100, break_at=50, harm=lambda model: setattr(model.gate, "closed", True))
    (event,) = watching.history.events
    assert (event.where, event.kind) == ("gate", "expert dies")
    assert event.step >= 50
    assert watching.history.data.choice.attrs["long_name"] == "expert"
    assert float(watching.history["load"].sel(layer="gate", choice=3).isel(step=-1)) == 0


@pytest.mark.parametrize("shares", [(0.02, 0.04), (0.3, 0.3, 0.3)])
def test_a_share_that_does_not_pass_a_new_level_says_nothing_again(shares):
    alarms, seen = Alarms(), []
    for step, share in enumerate(shares):
        dead = np.arange(100) < 100 * share
        row = UnitRow(
            500,
            Moments(500, np.where(dead, 0, 9.0), np.zeros(100), np.ones(100)),
            dead * 2000,
            dead,
            np.zeros(100, bool),
        )
        seen += alarms.check(Row(step, 0, 0.0, units={"a": row}))
    assert len(seen) == (max(shares) > 0.05)
    assert all(math.isfinite(event.step) for event in seen)
