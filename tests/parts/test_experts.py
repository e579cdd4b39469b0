"""A bank of experts gives one answer whichever way it is computed."""

import pytest
import torch

from labkit.parts.balance import imbalance, shares
from labkit.parts.experts import Experts
from labkit.parts.gate import Routing, everything, only


@pytest.fixture
def bank():
    return Experts(6, 4, 3, 5).double()


def top(chosen: int, rows: int = 40) -> Routing:
    best, index = torch.randn(rows, 6).double().topk(chosen, -1)
    return Routing(index, best.softmax(-1), 6)


@pytest.mark.parametrize("chosen", [1, 2, 3])
def test_grouped_gathered_and_mixed_agree(bank, chosen):
    x, routing = torch.randn(40, 4).double(), top(chosen)
    mixed = bank.mixed(x, routing.mixture())
    torch.testing.assert_close(bank.grouped(x, routing.index, routing.weights), mixed)
    torch.testing.assert_close(bank.gathered(x, routing.index, routing.weights), mixed)


def test_their_gradients_agree(bank):
    x, routing = torch.randn(40, 4).double(), top(2)
    slopes = []
    for way in (bank.grouped, bank.gathered):
        bank.zero_grad()
        way(x, routing.index, routing.weights).cos().sum().backward()
        slopes.append([parameter.grad.clone() for parameter in bank.parameters()])
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_a_dropped_row_gets_nothing(bank):
    x, routing = torch.randn(40, 4).double(), top(2)
    index = routing.index.clone()
    index[3], index[7, 1] = -1, -1
    for way in (bank.grouped, bank.gathered):
        out = way(x, index, routing.weights)
        assert torch.equal(out[3], torch.zeros(5).double())
        alone = bank(x[7:8], only(index[7:8, 0], 6, x)) * routing.weights[7, 0]
        torch.testing.assert_close(out[7:8], alone)


def test_a_mixture_holds_the_weights_in_their_places():
    routing = Routing(torch.tensor([[2, 0], [1, -1]]), torch.tensor([[0.7, 0.3], [0.6, 0.0]]), 4)
    torch.testing.assert_close(routing.mixture(), torch.tensor([[0.3, 0, 0.7, 0], [0, 0.6, 0, 0]]))


def test_imbalance_is_zero_when_even_and_largest_when_one_takes_all():
    assert imbalance(shares(everything(torch.full((8, 5), 0.2)))) < 1e-10
    crowded = only(torch.zeros(8, dtype=torch.long), 5, torch.ones(1))
    torch.testing.assert_close(imbalance(shares(crowded)), torch.tensor(4.0))
