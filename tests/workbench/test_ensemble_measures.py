"""Measurements on ensembles: what is shown to whom, what is found again after training, and what the controls do."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from labkit.parts.goodness_network import GoodnessNetwork
from labkit.workbench.backbones.labelled_layers import CONDITIONS, Classifier, responses, shown
from labkit.workbench.ensemble_measures import (
    activity,
    answers_to,
    between,
    ensemble_size,
    ensembles,
    overlap,
    own_ensemble,
    rank_correlation,
    read_without_label,
    sparseness,
)
from labkit.workbench.sparse_backprop import Idle, SparseBackprop, WithoutOne
from labkit.workbench.tasks.rows import Labelled

ROWS, WIDE, CLASSES = 240, 20, 4


class Spots(Labelled):
    """Classes that are told apart by which four of the numbers behind the label are bright."""

    in_width, out_width, labels, batch = WIDE, CLASSES, ("a", "b", "c", "d"), 40

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.test_y = torch.arange(ROWS) % CLASSES
        self.test_x = torch.zeros(ROWS, WIDE)
        for row, one in enumerate(self.test_y.tolist()):
            self.test_x[row, 4 + 4 * one : 8 + 4 * one] = 1 + torch.rand(4, generator=draw)
        self.train_x, self.train_y = self.test_x, self.test_y


@pytest.fixture
def task():
    return Spots()


def planted() -> Classifier:
    """A first layer of 40 units: five for each class that copy its spots, the others silent; the second copies the first."""
    model = Classifier(WIDE, CLASSES, (40, 40))
    with torch.no_grad():
        for layer in model.layers:
            layer[0].weight.zero_()
            layer[0].bias.zero_()
        for one in range(CLASSES):
            for unit in range(5):
                model.layers[0][0].weight[5 * one + unit, 4 + 4 * one + unit % 4] = 1.0 + unit
        model.layers[1][0].weight.copy_(torch.eye(40))
    return model


def test_planted_ensembles_are_measured(task):
    model = planted()
    found = ensembles(model, task)[0]
    assert [row.nonzero().flatten().tolist() for row in found] == [
        list(range(5 * one, 5 * one + 5)) for one in range(4)
    ]
    assert np.allclose(ensemble_size()(model, task), 5 / 40)
    assert between(overlap(model, task).isel(layer=0).values) == 0
    assert np.allclose(own_ensemble(model, task), 1)
    assert np.allclose(read_without_label(model, task), 1)
    assert sparseness(0)(model, task).item() > 0.6
    picture = activity(model, task)
    assert picture.dims == ("layer", "class", "unit")
    assert picture.max() == 1
    best = picture.isel(layer=0).values[:, :20].argmax(0)
    assert (np.diff(best) >= 0).all()


def test_ensembles_are_found_anew_when_the_weights_change(task):
    model = planted()
    before = ensembles(model, task)[0]
    assert ensembles(model, task)[0] is before
    with torch.no_grad():
        model.layers[0][0].weight.mul_(0)
    assert not ensembles(model, task)[0].any()


def test_who_reads_labels_is_told_them(task):
    network = GoodnessNetwork(WIDE, CLASSES, (6,))
    inputs = {name: shown(network, *task.test(), name)[1] for name in CONDITIONS}
    assert torch.equal(inputs["right label"][:, :4].argmax(-1), task.test_y)
    assert torch.equal(inputs["wrong label"][:, :4].argmax(-1), (task.test_y + 1) % 4)
    assert torch.allclose(inputs["no label"][:, :4], torch.tensor(0.25))
    assert torch.equal(inputs["scrambled pixels"][:, :4], inputs["right label"][:, :4])
    assert not torch.equal(inputs["scrambled pixels"][:, 4:], inputs["right label"][:, 4:])
    assert torch.equal(shown(planted(), *task.test(), "wrong label")[1], task.test_x)
    scrambled = shown(planted(), *task.test(), "scrambled pixels")[1]
    assert torch.allclose(scrambled.norm(dim=-1), task.test_x.norm(dim=-1))


def test_answers_are_measured_against_the_right_label(task):
    torch.manual_seed(0)
    found = answers_to(GoodnessNetwork(WIDE, CLASSES, (40, 40)), task)
    assert np.allclose(found.sel(condition="right label"), 1)
    assert np.allclose(answers_to(planted(), task).sel(condition="wrong label"), 1)


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    one, other = np.array([3.0, 1, 4, 1, 5, 9, 2]), np.array([2.0, 7, 1, 8, 2, 8, 1])
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other)[0])
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0


def test_a_classifier_says_what_its_layers_say():
    model, x = Classifier(WIDE, CLASSES, (6, 5)), torch.randn(3, WIDE)
    assert torch.equal(model.out(model.responses(x)[-1]), model(x))
    assert all(
        torch.equal(*pair) for pair in zip(responses(model, x, torch.zeros(3).long()), model.responses(x), strict=True)
    )


def stepped(model: nn.Module, trainer, task, steps: int = 30) -> nn.Module:
    torch.manual_seed(0)
    trainer.start(model, task, steps)
    for batch in itertools.islice(task.batches(0), steps):
        trainer.step(model, batch)
    return model


def test_a_penalty_makes_fewer_units_active(task):
    active = []
    for penalty in (0.0, 3.0):
        torch.manual_seed(1)
        model = stepped(Classifier(WIDE, CLASSES, (30, 30)), SparseBackprop(0.01, penalty), task)
        active.append(sum((one > 0).float().mean().item() for one in responses(model, *task.test())))
    assert active[1] < active[0] / 2


def test_the_idle_one_learns_nothing(task):
    model = GoodnessNetwork(WIDE, CLASSES, (6,))
    before = [weight.clone() for weight in model.parameters()]
    stepped(model, Idle(1.0), task, 3)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_an_unseen_class_leaves_no_trace(task):
    """Neither its images nor its label are shown: its label pixel keeps the weights it began with."""
    torch.manual_seed(2)
    model = GoodnessNetwork(WIDE, CLASSES, (10, 10))
    before = model.layers[0].dense.weight.clone()
    stepped(model, WithoutOne(0.01, unseen=2), task)
    after = model.layers[0].dense.weight
    assert torch.equal(before[:, 2], after[:, 2])
    assert torch.equal(before[:, 12:16], after[:, 12:16])  # the spots of its images
    assert not torch.equal(before[:, 1], after[:, 1])
    drawn = WithoutOne(unseen=2)._wrong(model, task.test_x, task.test_y % 2)
    assert not (drawn == 2).any()
    assert not (drawn == task.test_y % 2).any()
