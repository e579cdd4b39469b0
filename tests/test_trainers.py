"""The trainer contract: what every algorithm that owns a training step keeps, for all trainers in the folders.

A trainer's module offers `example.make()`, which makes the trainer, and where it needs a network of its own
`example.inputs(seed)`, which makes `(model,)` from 8 numbers to 3 scores. Without that it is given a small dense network.
All are trained on one tiny task, three clouds of points, whose loss is the cross-entropy. Names of the checks below, with
spaces, are what an example may exempt itself from, with a reason.
"""

import copy
import itertools
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from walk import modules, short

from labkit.catalogue.papers import paper
from labkit.example import Example

TRAINERS = modules("trainers")
STEPS = 120
WIDE, CLASSES, ROWS = 8, 3, 32


class ThreeClouds:
    """Points around three centres in 8 dimensions, with noise that leaves the classes apart; batches without end."""

    metric = "accuracy"
    in_width, out_width, labels = WIDE, CLASSES, ("one", "two", "three")

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.centres = 1.5 * torch.randn(CLASSES, WIDE, generator=draw)
        self.held = self._points(draw, 150)

    def _points(self, draw, rows):
        target = torch.randint(CLASSES, (rows,), generator=draw)
        return self.centres[target] + 0.7 * torch.randn(rows, WIDE, generator=draw), target

    def batches(self, seed, after=0):
        draw = torch.Generator().manual_seed(seed + 1)
        for _ in itertools.count():
            yield self._points(draw, ROWS)

    def loss(self, prediction, target):
        return F.cross_entropy(prediction, target)

    def accuracy(self, prediction, target):
        return (prediction.argmax(-1) == target).float().mean().item()

    def train(self):
        return self.held

    def test(self):
        return self.held

    probe = test


def trained(example: Example, seed: int = 0, steps: int = STEPS):
    """A trainer, its model after so many steps, the task, and what each step said."""
    torch.manual_seed(seed)
    model = example.inputs(seed)[0] if example.inputs else dense(seed)
    trainer, task = example.make(), ThreeClouds()
    torch.manual_seed(seed)
    trainer.start(model, task, steps)
    said = [trainer.step(model, batch) for batch in itertools.islice(task.batches(seed), steps)]
    return trainer, model, task, said


def dense(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDE, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def beats_chance(example):
    trainer, model, task, _ = trained(example)
    x, target = task.test()
    share = task.accuracy(trainer.predict(model, x), target)
    assert share > 0.7, f"{share:.0%} of the points are named rightly, and chance is {1 / CLASSES:.0%}"


def same_seed_same_run(example):
    runs = [trained(example, 3, 15) for _ in range(2)]
    assert runs[0][3] == runs[1][3], "what the steps say differs from run to run"
    states = [model.state_dict() for _, model, _, _ in runs]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), f"{name} differs from run to run"


def every_step_says_a_finite_training_loss(example):
    for said in trained(example, steps=20)[3]:
        assert "training_loss" in said, "a step does not say its training_loss"
        for name, value in said.items():
            assert isinstance(value, float), f"{name} is a {type(value).__name__} and no float"
            assert math.isfinite(value), f"{name} is {value}"


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = [list(getattr(part, kind)) for part in model.modules() for kind in kinds]
    return found + [list(value._backward_hooks or ()) for value in model.parameters()]


def leaves_no_hooks(example):
    model = trained(example, steps=3)[1]
    assert not any(hooks(model)), "hooks are left on the model"


def all_parts_share_a_mode_afterwards(example):
    """After a step as after Backprop: everything in training; a prediction is made in evaluation."""
    trainer, model, task, _ = trained(example, steps=3)
    assert all(part.training for part in model.modules()), "a step leaves parts in evaluation"
    trainer.predict(model, task.test()[0])
    assert len({part.training for part in model.modules()}) == 1, "a prediction leaves parts in different modes"


def predicts_as_the_model_in_evaluation(example):
    trainer, model, task, _ = trained(example, steps=3)
    x = task.test()[0]
    before = copy.deepcopy(model.state_dict())
    found = trainer.predict(model.train(), x)
    assert found.shape == (len(x), CLASSES), f"a prediction has shape {tuple(found.shape)}"
    assert not found.requires_grad, "a prediction carries a graph"
    with torch.no_grad():
        assert torch.allclose(found, model.eval()(x), atol=1e-6), (
            "a prediction is not what the model says in evaluation"
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "predicting learns"


def learns_from_what_it_is_given(example):
    """Other labels, another model: the step is not blind to its batch; and the batch stays as it was."""
    trainer, model, task, _ = trained(example, steps=3)
    x, target = next(task.batches(9))
    ends, kept = [], (x.clone(), target.clone())
    for labels in (target, (target + 1) % CLASSES):
        twin, own = copy.deepcopy(model), copy.deepcopy(trainer)
        torch.manual_seed(0)
        own.step(twin, (x, labels))
        ends.append(torch.cat([value.flatten() for value in twin.state_dict().values()]))
    assert torch.equal(x, kept[0]), "a step changes its inputs"
    assert torch.equal(target, kept[1]), "a step changes its targets"
    same = ends[0].shape == ends[1].shape and torch.equal(ends[0], ends[1])
    assert not same, "a step does not depend on the labels"


def frees_its_gradients_and_graphs(example):
    """What is left on the parameters has no graph behind it: the memory of a step ends with it."""
    model = trained(example, steps=3)[1]
    for name, value in model.named_parameters():
        assert value.is_leaf, f"{name} carries a graph"
        assert value.grad is None or value.grad.grad_fn is None, f"the gradient of {name} carries a graph"


def goes_on_from_its_state(example):
    """Where a trainer has a `state_dict`: a twin with the state goes on in the same way."""
    trainer, model, task, _ = trained(example, steps=5)
    if not hasattr(trainer, "state_dict"):
        return
    twin, other = copy.deepcopy(model), example.make()
    other.start(twin, task, STEPS)
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(trainer.state_dict()))
    for batch in itertools.islice(task.batches(7), 3):
        states = []
        for one, its in ((trainer, model), (other, twin)):
            torch.manual_seed(0)
            states.append(one.step(its, batch))
        assert states[0] == states[1], "a trainer that takes over a state goes on differently"


CHECKS = (
    beats_chance,
    same_seed_same_run,
    every_step_says_a_finite_training_loss,
    leaves_no_hooks,
    all_parts_share_a_mode_afterwards,
    predicts_as_the_model_in_evaluation,
    learns_from_what_it_is_given,
    frees_its_gradients_and_graphs,
    goes_on_from_its_state,
)


def test_the_walk_finds_the_trainers():
    assert {"dynamical_low_rank", "condition_clipping"} <= {module.__name__.split(".")[-1] for module in TRAINERS}


@pytest.mark.parametrize("prove", CHECKS, ids=lambda prove: prove.__name__)
@pytest.mark.parametrize("module", TRAINERS, ids=short)
def test_trainer(module, prove):
    name = prove.__name__.replace("_", " ")
    if name in module.example.exempt:
        pytest.skip(module.example.exempt[name])
    prove(module.example)


@pytest.mark.parametrize("module", TRAINERS, ids=short)
def test_a_trainer_says_what_it_does_and_whose_it_is(module):
    explained = module.__doc__ or ""
    assert len(explained.splitlines()[0].split()) >= 5
    source = re.search(r"Source:.*?\((P\d{3})\)", explained, re.DOTALL)
    assert source
    assert paper(source[1]).id == source[1]
    assert type(module.example.make()).__doc__


class Sound:
    """Plain gradient descent without faults; the faulty ones below change one thing."""

    def start(self, model, task, steps):
        self.loss, self.task = task.loss, task

    def step(self, model, batch):
        model.train().zero_grad()
        loss = self.loss(model(batch[0]), batch[1])
        loss.backward()
        with torch.no_grad():
            for value in model.parameters():
                value -= 0.2 * value.grad
        return {"training_loss": loss.item()}

    @torch.no_grad()
    def predict(self, model, x):
        return model.eval()(x)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Idle(Sound):
    def step(self, model, batch):
        model.train()
        return {"training_loss": 1.0}


class Drawing(Sound):
    ticks = itertools.count()

    def step(self, model, batch):
        with torch.no_grad():
            next(iter(model.parameters())).add_(1e-3 * next(self.ticks))
        return super().step(model, batch)


class Silent(Sound):
    def step(self, model, batch):
        return {"loss": super().step(model, batch)["training_loss"]}


class Infinite(Sound):
    def step(self, model, batch):
        return super().step(model, batch) | {"norm": math.inf}


class Hooking(Sound):
    def start(self, model, task, steps):
        super().start(model, task, steps)
        next(iter(model.children())).register_forward_hook(lambda *_: None)


class Sleeping(Sound):
    def step(self, model, batch):
        said = super().step(model, batch)
        next(iter(model.children())).eval()
        return said


class Boasting(Sound):
    def predict(self, model, x):
        return super().predict(model, x) + 1


class Writing(Sound):
    def predict(self, model, x):
        with torch.no_grad():
            next(iter(model.parameters())).add_(1)
        return super().predict(model, x)


class Blind(Sound):
    def step(self, model, batch):
        return super().step(model, (batch[0], batch[0].argmax(-1) % CLASSES))


class Spoiling(Sound):
    def step(self, model, batch):
        batch[0].add_(1)
        return super().step(model, batch)


class Heavy(Sound):
    def step(self, model, batch):
        said = super().step(model, batch)
        for value in model.parameters():
            value.grad = value * 2
        return said


class Forgetful(Sound):
    """Its steps grow, and its state does not say how far they have."""

    taken = 0

    def step(self, model, batch):
        self.taken += 1
        return super().step(model, batch) | {"taken": float(self.taken)}


FAULTS = {
    Idle: (beats_chance, learns_from_what_it_is_given),
    Drawing: (same_seed_same_run,),
    Silent: (every_step_says_a_finite_training_loss,),
    Infinite: (every_step_says_a_finite_training_loss,),
    Hooking: (leaves_no_hooks,),
    Sleeping: (all_parts_share_a_mode_afterwards,),
    Boasting: (predicts_as_the_model_in_evaluation,),
    Writing: (predicts_as_the_model_in_evaluation,),
    Blind: (beats_chance, learns_from_what_it_is_given),
    Spoiling: (learns_from_what_it_is_given,),
    Heavy: (frees_its_gradients_and_graphs,),
    Forgetful: (goes_on_from_its_state,),
}


@pytest.mark.parametrize("prove", CHECKS, ids=lambda prove: prove.__name__)
def test_a_sound_trainer_passes(prove):
    prove(Example(Sound))


@pytest.mark.parametrize(("fault", "prove"), [(fault, one) for fault, proofs in FAULTS.items() for one in proofs])
def test_a_planted_fault_is_found(fault, prove):
    with pytest.raises((AssertionError, RuntimeError, KeyError)):
        prove(Example(fault))


def test_every_check_is_tripped_by_a_fault():
    assert {prove for proofs in FAULTS.values() for prove in proofs} == set(CHECKS)
