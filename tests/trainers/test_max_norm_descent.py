"""Descent under a cap: the cap holds, the schedule is the paper's, and without its parts it is plain gradient descent."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.parts.max_norm import capped, matrices
from labkit.trainers.constrained.max_norm_descent import MaxNormDescent


class Task:
    loss = staticmethod(F.cross_entropy)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))


def batch():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 3


def test_long_rows_are_scaled_back_and_short_ones_stay():
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(capped(weight, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_a_filter_of_a_convolution_is_one_row():
    found = capped(torch.full((2, 3, 2, 2), 1.0), 1.0)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.ones(2))


def test_the_cap_holds_after_every_step_for_all_but_the_last_layer():
    model, trainer = network(), MaxNormDescent(20.0, cap=0.5)
    trainer.start(model, Task, 30)
    for _ in range(30):
        trainer.step(model, batch())
        assert model[0].weight.norm(dim=1).max() <= 0.5 + 1e-6
    assert model[2].weight.norm(dim=1).max() > 0.5


def test_the_first_step_is_half_a_step_of_plain_descent():
    model, twin = network(), network()
    trainer = MaxNormDescent(0.3, cap=None)
    trainer.start(model, Task, 100)
    trainer.step(model, batch())
    x, labels = batch()
    F.cross_entropy(twin(x), labels).backward()
    for after, weight in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), weight.detach() - 0.5 * 0.3 * weight.grad)


def test_momentum_grows_and_the_rate_falls():
    trainer = MaxNormDescent(2.0, ends_at=0.1)
    trainer.start(network(), Task, 100)
    found = []
    for trainer.taken in (0, 25, 50, 100):
        found.append((trainer.momentum(), trainer.rate()))
    assert [momentum for momentum, _ in found] == pytest.approx([0.5, 0.745, 0.99, 0.99])
    assert [rate for _, rate in found] == pytest.approx([2.0, 2 * 0.1**0.25, 2 * 0.1**0.5, 0.2])


def test_decay_is_that_of_the_matrices():
    plain, decayed = network(), network()
    for model, decay in ((plain, 0.0), (decayed, 0.1)):
        trainer = MaxNormDescent(1.0, cap=None, decay=decay)
        trainer.start(model, Task, 100)
        trainer.step(model, batch())
    first = network()
    torch.testing.assert_close(plain[0].weight - decayed[0].weight, 0.5 * 0.1 * first[0].weight, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(plain[0].bias, decayed[0].bias)


def test_what_is_capped_are_layers_that_units_read_through():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert list(matrices(model)) == ["0", "2"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"learning_rate": 0.0}, "learning rate"),
        ({"cap": -1.0}, "the cap .* above 0, not -1"),
        ({"ends_at": 0.0}, "share of the first one"),
        ({"decay": -0.1}, "0 or more, not -0.1"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        MaxNormDescent(**settings)
