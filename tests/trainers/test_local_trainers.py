"""Local trainers never let a gradient cross two layers: proved for every trainer of the shelf, on every layer it trains."""

import copy
import itertools

import pytest
import torch
from torch import nn
from walk import modules, short

from labkit.parts.goodness import goodness_loss, labelled, likely_wrong_labels, wrong_labels
from labkit.parts.goodness_network import GoodnessNetwork
from labkit.trainers.goodness.goodness_backprop import GoodnessBackprop
from labkit.trainers.local.forward_forward import ForwardForward

LOCAL = [module for module in modules("trainers") if module.__name__.split(".")[-2] == "local"]
ROWS, WIDE, CLASSES = 32, 8, 3


class Batches:
    """Random points of three classes; a local trainer needs no more of a task."""

    def batches(self, seed):
        draw = torch.Generator().manual_seed(seed)
        for _ in itertools.count():
            yield torch.randn(ROWS, WIDE, generator=draw), torch.randint(CLASSES, (ROWS,), generator=draw)

    def loss(self, prediction, target):
        return nn.functional.cross_entropy(prediction, target)


def crossings(trainer, model, steps: int = 3) -> list[str]:
    """The layers with weights that read something with a graph behind it while the trainer works: none, where it is local."""
    names, hooks = set(), []
    for name, layer in model.named_modules():
        if list(layer.parameters(recurse=False)):

            def hear(_, given, name=name):
                if any(isinstance(one, torch.Tensor) and one.requires_grad for one in given):
                    names.add(name)

            hooks.append(layer.register_forward_pre_hook(hear))
    task = Batches()
    trainer.start(model, task, steps)
    for batch in itertools.islice(task.batches(0), steps):
        trainer.step(model, batch)
    for hook in hooks:
        hook.remove()
    return sorted(names)


def test_the_walk_finds_local_trainers():
    assert "forward_forward" in {module.__name__.split(".")[-1] for module in LOCAL}


@pytest.mark.parametrize("module", LOCAL, ids=short)
def test_no_gradient_crosses_two_layers(module):
    assert crossings(module.example.make(), module.example.inputs(0)[0]) == []


def test_backpropagation_is_found_out():
    model = GoodnessNetwork(WIDE, CLASSES, (6, 6, 6))
    assert crossings(GoodnessBackprop(), model) == ["layers.1.dense", "layers.2.dense"]


def test_a_forgotten_detach_is_found_out(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "detach", lambda self: self)
    model = GoodnessNetwork(WIDE, CLASSES, (6, 6))
    assert crossings(ForwardForward(), model) == ["layers.1.dense"]


def stepped(model, trainer, steps: int = 5):
    torch.manual_seed(1)
    trainer.start(model, None, steps)
    for batch in itertools.islice(Batches().batches(2), steps):
        trainer.step(model, batch)
    return model


def test_a_layer_learns_the_same_whatever_stands_above_it():
    torch.manual_seed(0)
    first = GoodnessNetwork(WIDE, CLASSES, (6, 6))
    other = copy.deepcopy(first)
    nn.init.normal_(other.layers[1].dense.weight)
    for layers in (stepped(first, ForwardForward()).layers, stepped(other, ForwardForward()).layers):
        layers.eval()
    assert torch.equal(first.layers[0].dense.weight, other.layers[0].dense.weight)
    assert not torch.equal(first.layers[1].dense.weight, other.layers[1].dense.weight)


def test_a_step_is_each_layers_own_gradient():
    """The gradients are those of one loss a layer, taken one after the other on inputs that are constants."""
    torch.manual_seed(0)
    model = GoodnessNetwork(WIDE, CLASSES, (6, 5, 4), kind="length")
    twin, (x, target) = copy.deepcopy(model), next(Batches().batches(4))
    trainer = ForwardForward(threshold=1.5)
    trainer.start(model, None, 1)
    torch.manual_seed(5)
    trainer.step(model, (x, target))
    torch.manual_seed(5)
    wrong = wrong_labels(target, CLASSES)
    right, false = labelled(x, target, CLASSES), labelled(x, wrong, CLASSES)
    for layer, trained in zip(twin.layers, model.layers, strict=True):
        positive, negative = layer(right), layer(false)
        goodness_loss(positive.norm(dim=-1), negative.norm(dim=-1), 1.5).backward()
        assert torch.allclose(layer.dense.weight.grad, trained.dense.weight.grad, atol=1e-6)
        right, false = positive.data, negative.data


def test_hard_negatives_are_wrong_and_likely():
    torch.manual_seed(0)
    scores = torch.tensor([[9.0, 0, 5], [0, 0, 9]]).repeat(200, 1)
    target = torch.tensor([0, 2]).repeat(200)
    drawn = likely_wrong_labels(scores, target)
    assert not (drawn == target).any()
    assert (drawn[::2] == 2).float().mean() > 0.95
    assert 0.3 < (drawn[1::2] == 0).float().mean() < 0.7


@pytest.mark.parametrize("trainer", [ForwardForward, GoodnessBackprop])
def test_wrong_uses_are_refused_with_a_sentence(trainer):
    with pytest.raises(ValueError, match="above 0, not 0"):
        trainer(0.0)
    with pytest.raises(TypeError, match=r"trains a GoodnessNetwork.*not Linear"):
        trainer().start(nn.Linear(3, 3), None, 1)
