"""Functions to fit: scaled alike, without noise, the same for the same seed."""

import itertools

import pytest
import torch

from labkit.errors import LabError
from labkit.layers.activation.cauchy_activation import CauchyActivation
from labkit.workbench.backbones.activation_network import ActivationNetwork, OneEach, dense_stack
from labkit.workbench.backprop import Backprop
from labkit.workbench.fit import fit
from labkit.workbench.tasks.function_fitting import FUNCTIONS, ONE, TWO, FunctionFitting


@pytest.mark.parametrize("names", [ONE, TWO])
def test_saying_the_mean_misses_the_whole_variance_of_every_function(names):
    task = FunctionFitting(names, test_rows=4096)
    x, target = task.test()
    missed = task.errors(torch.zeros_like(target), target)
    assert torch.allclose(missed, torch.ones(len(names)), atol=0.05)
    assert task.loss(target, target).item() == 0
    assert (x.shape[1], target.shape[1]) == (task.in_width, task.out_width)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_targets_are_the_function_of_their_inputs(name):
    task = FunctionFitting(name)
    for x, target in (task.train(), task.test()):
        assert torch.equal(task.function(x), target)
        assert x.abs().max() <= 1


def test_the_same_seed_gives_the_same_data_and_another_seed_other_training_inputs_only():
    one, same, other = (FunctionFitting(ONE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train_x, same.train_x)
    assert not torch.equal(one.train_x, other.train_x)
    assert torch.equal(one.test_x, other.test_x)


def test_batches_repeat_for_the_same_seed_and_can_be_passed_over():
    task = FunctionFitting("smooth", rows=100, batch=32)
    first = list(itertools.islice(task.batches(5), 9))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, task.batches(5)))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[6:], task.batches(5, after=6)))


def test_wrong_names_get_a_sentence():
    with pytest.raises(LabError, match="smooth, oscillating"):
        FunctionFitting("smoth")
    with pytest.raises(LabError, match="No function was named"):
        FunctionFitting(())
    with pytest.raises(LabError, match="some take one number"):
        FunctionFitting(("smooth", "stepped surface"))


def test_an_activation_is_called_for_each_hidden_layer_and_found_again():
    model = ActivationNetwork(FunctionFitting(ONE), lambda i, o: CauchyActivation(i), width=8, depth=3)
    assert len(model.activations) == 3
    assert all(isinstance(layer, CauchyActivation) for layer in model.activations)
    assert model(torch.zeros(5, 1)).shape == (5, 4)
    assert len(dense_stack(3, 2, lambda i, o: torch.nn.ReLU(), depth=0)) == 1


def test_networks_of_their_own_train_as_if_they_were_alone():
    def trained(names):
        task = FunctionFitting(names, rows=200, test_rows=50)
        torch.manual_seed(0)
        model = OneEach(task, lambda i, o: dense_stack(i, o, lambda w, _: torch.nn.Tanh(), width=6, depth=1))
        fit(model, task, Backprop(clip=0.0), steps=20, seed=0)
        return model(task.test_x)[:, 0]

    assert torch.allclose(trained("smooth"), trained(("smooth", "step")), atol=1e-4)
