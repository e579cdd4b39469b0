"""Training on damaged rows: what is changed, that the task is not, and that every row comes once a turn."""

import torch
from torch import nn
from torch.nn import functional as F

from labkit.workbench.other_rows import OtherRows, random_inputs, random_labels, wrong_labels
from labkit.workbench.tasks.standardised_images import StandardisedImages


class Task:
    loss = staticmethod(F.cross_entropy)
    out_width = 5

    def __init__(self):
        self.train_x, self.train_y = torch.arange(70.0).view(70, 1), torch.arange(70) % 5


def started(**settings):
    torch.manual_seed(0)
    model, task, trainer = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 5)), Task(), OtherRows(**settings)
    trainer.start(model, task, 10)
    return model, task, trainer


def test_so_many_labels_are_wrong_and_none_by_chance_right():
    labels = torch.arange(5).repeat(4000)
    _, found = wrong_labels(0.4)(labels, labels, 5, torch.Generator().manual_seed(0))
    assert abs((found != labels).float().mean().item() - 0.4) < 0.01
    moved = (found - labels)[found != labels] % 5
    assert torch.bincount(moved, minlength=5)[1:].min() > 0.23 * len(moved)


def test_the_task_stays_whole():
    _, task, trainer = started(change=random_labels)
    assert torch.equal(task.train_y, torch.arange(70) % 5)
    assert not torch.equal(trainer.labels, task.train_y)


def test_random_inputs_have_the_mean_and_the_spread():
    x = 3 + 2 * torch.randn(500, 20)
    found, _ = random_inputs(x, x[:, 0], 5, torch.Generator().manual_seed(0))
    assert abs(found.mean() - x.mean()) < 0.1
    assert abs(found.std() - x.std()) < 0.1


def test_every_row_comes_once_in_a_turn_and_another_turn_is_in_another_order():
    _, _, trainer = started()
    turns = []
    for _ in range(2):
        seen = []
        for _ in range(3):
            seen += trainer.drawn(30)[0].flatten().tolist()
            trainer.taken += 1
        turns.append(seen)
    assert all(sorted(seen) == list(range(70)) for seen in turns)
    assert turns[0] != turns[1]


def test_the_penalties_change_the_step_and_not_the_reported_loss_of_smoothing_zero():
    ends = []
    for settings in ({}, {"quiet": 1.0}, {"smoothing": 0.3}):
        model, task, trainer = started(**settings)
        said = [trainer.step(model, (task.train_x[:30], task.train_y[:30]))["training_loss"] for _ in range(5)]
        ends.append((said[0], model[0].weight.detach().clone()))
    assert ends[0][0] == ends[1][0] != ends[2][0]
    assert not torch.equal(ends[0][1], ends[1][1])


def test_standardised_images_have_mean_0_and_spread_1_in_training():
    task = StandardisedImages("fashion_mnist", rows=500)
    assert abs(task.train_x.mean()) < 1e-4
    assert abs(task.train_x.std() - 1) < 1e-4
