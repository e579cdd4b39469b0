"""The training loop: same seed same run, nothing disturbed by looking, stopping, and a loss that explodes."""

import threading

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from labkit.errors import LabError
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.losses.routing.hardening import hardening
from labkit.losses.routing.load_balance import load_balance
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.backprop import Backprop
from labkit.workbench.fit import Stopped, evenly, fit, measure_all
from labkit.workbench.probes import score
from labkit.workbench.tasks.classification import Classification


@pytest.fixture(scope="module")
def task():
    return Classification("digits", batch=64)


def tree(task, seed=0):
    torch.manual_seed(seed)
    return OnlyLayer(task, lambda i, o: FastFeedforward(i, o, depth=3, leaf_width=8))


PROBES = {"test_accuracy": score("accuracy"), "test_loss": score("loss")}


def test_beats_chance_soft_and_hard(task):
    found = fit(tree(task), task, Backprop(penalties={hardening: 3.0}), steps=150, measure_at=[0, 150], probes=PROBES)
    assert found.test_accuracy.sel(mode="hard").values[-1] > 0.7
    assert found.test_accuracy.sel(mode="soft").values[-1] > 0.7
    assert found.test_accuracy.values[0].max() < 0.4
    assert np.isnan(found.training_loss.values[0])


def test_same_seed_same_run_and_looking_changes_nothing(task):
    def weights(measure_at):
        model = tree(task)
        fit(model, task, Backprop(penalties={hardening: 1.0}), steps=20, seed=3, measure_at=measure_at, probes=PROBES)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    rarely = weights([20])
    assert torch.equal(rarely, weights([20]))
    assert torch.equal(rarely, weights(range(21)))


def test_penalties_do_what_they_are_for(task):
    def trained(penalties):
        model = tree(task)
        told = {}
        fit(model, task, Backprop(penalties=penalties), steps=80, watch=lambda step, values: told.update(values))
        return told

    weak, strong = trained({hardening: 1e-6}), trained({hardening: 5.0})
    assert strong["hardening"] < 0.7 * weak["hardening"]
    loose, even = trained({load_balance: 1e-6}), trained({load_balance: 5.0})
    assert even["load_balance"] < loose["load_balance"]


def test_stops_when_asked_and_leaves_no_hooks(task):
    stop, model = threading.Event(), tree(task)
    with pytest.raises(Stopped, match="step 5 of 100"):
        fit(
            model,
            task,
            Backprop(penalties={hardening: 1.0}),
            steps=100,
            stop=stop,
            watch=lambda step, _: stop.set() if step == 4 else None,
        )
    assert not any(module._forward_hooks for module in model.modules())


def test_a_loss_that_is_no_number_says_so(task):
    model = tree(task)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(LabError, match="no longer a number at step 1"):
        fit(model, task, Backprop(), steps=3)


def test_measurements_come_early_and_at_both_ends():
    places = evenly(600, 12)
    assert (places[0], places[-1]) == (0, 600)
    assert np.diff(places)[0] < np.diff(places)[-1]
    assert evenly(2, 12) == [0, 1, 2]


def test_a_dense_model_has_no_gap():
    class Task:
        def test(self):
            return torch.randn(8, 4), torch.zeros(8, dtype=torch.long)

        def accuracy(self, prediction, target):
            return (prediction.argmax(-1) == target).float().mean().item()

    soft, hard = score("accuracy")(nn.Linear(4, 3), Task()).values
    assert soft == hard


def test_two_measurements_may_not_mean_different_things_by_one_axis():
    def probe(entries):
        return lambda *_: xr.DataArray([1.0, 2.0], dims="noise", coords={"noise": entries})

    alike = measure_all(nn.Linear(1, 1), None, {"one": probe([0.0, 0.5]), "other": probe([0.0, 0.5])})
    assert alike.noise.values.tolist() == [0.0, 0.5]
    with pytest.raises(LabError, match="one and other share the axis 'noise'"):
        measure_all(nn.Linear(1, 1), None, {"one": probe([0.0, 0.5]), "other": probe(["0", "0.5"])})
