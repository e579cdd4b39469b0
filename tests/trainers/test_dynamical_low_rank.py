"""Dynamical low rank and condition clipping: the steps are those of the equations, and the bounds hold."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.parts.orthonormal import ThreeFactors, condition, kept, orthonormalised, widened
from labkit.trainers.low_rank.condition_clipping import ConditionClipping
from labkit.trainers.low_rank.dynamical_low_rank import LEAST, DynamicalLowRank, cut


class Task:
    def loss(self, prediction, target):
        return F.mse_loss(prediction, target)


def case(rank=3, most=None, decay=1.0, rows=40, wide=9, out=7):
    torch.manual_seed(0)
    layer = ThreeFactors(wide, out, rank=rank, most=most, decay=decay).double()
    return layer, (torch.randn(rows, wide).double(), torch.randn(rows, out).double())


def weight(layer):
    return (layer.left @ layer.core @ layer.right.T).detach()


def orthonormal(basis):
    return torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).to(basis), atol=1e-6)


def slope(layer, batch, w):
    """The gradient by the dense weight."""
    w = w.clone().requires_grad_()
    F.mse_loss(batch[0] @ w.T + layer.bias.detach(), batch[1]).backward()
    return w.grad


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_a_step_is_that_of_the_equations(threshold):
    """Written out with dense gradients, for a layer alone."""
    layer, batch = case(most=7)
    layer.core.data += torch.randn(3, 3).double()
    u, s, v = layer.left.detach(), layer.core.detach(), layer.right.detach()
    trainer, rate = DynamicalLowRank(0.3, threshold), 0.3
    g = slope(layer, batch, u @ s @ v.T)
    k, long = u @ s - rate * g @ v, v @ s.T - rate * g.T @ u
    basis = torch.linalg.qr(k if threshold is None else torch.cat((u, k), 1))[0]
    other = torch.linalg.qr(long if threshold is None else torch.cat((v, long), 1))[0]
    core = basis.T @ u @ s @ v.T @ other
    core = core - rate * basis.T @ slope(layer, batch, basis @ core @ other.T) @ other
    trainer.start(layer, Task(), 1)
    trainer.step(layer, batch)
    assert torch.allclose(weight(layer), basis @ core @ other.T, atol=1e-10)
    assert layer.rank == (3 if threshold is None else 6)


@pytest.mark.parametrize("threshold", [None, 0.0, 0.05, 0.3])
def test_bases_stay_orthonormal(threshold):
    layer, batch = case(rank=4, decay=2.0)
    trainer = DynamicalLowRank(0.2, threshold)
    trainer.start(layer, Task(), 30)
    for _ in range(30):
        trainer.step(layer, batch)
        assert orthonormal(layer.left)
        assert orthonormal(layer.right)
        assert LEAST <= layer.rank <= layer.most


def test_with_full_rank_and_no_threshold_it_reaches_what_dense_descent_reaches():
    layer, batch = case(rank=7)
    dense = nn.Linear(9, 7).double()
    for model in (layer, dense):
        trainer = DynamicalLowRank(0.5, None)
        trainer.start(model, Task(), 800)
        for _ in range(800):
            said = trainer.step(model, batch)["training_loss"]
        last = said if model is layer else last
    assert last == pytest.approx(said, rel=1e-3)


def test_small_singular_values_do_not_slow_it_down():
    """Towards a target of rank 3 from values that fall by 1000: two factors rest on a plateau, basis and core do not."""
    torch.manual_seed(0)
    x, target = torch.randn(60, 9).double(), torch.randn(7, 3).double() @ torch.randn(3, 9).double()
    batch, losses = (x, x @ target.T), {}
    layer = ThreeFactors(9, 7, rank=3, decay=1000.0).double()
    roots = layer.core.detach().sqrt()
    two = nn.Sequential(nn.Linear(9, 3, bias=False), nn.Linear(3, 7)).double()
    two[0].weight.data, two[1].weight.data = roots @ layer.right.detach().T, layer.left.detach() @ roots
    for name, model in (("three", layer), ("two", two)):
        trainer = DynamicalLowRank(0.1, None)
        trainer.start(model, Task(), 48)
        losses[name] = [trainer.step(model, batch)["training_loss"] for _ in range(48)][-1]
    assert losses["three"] < 0.5 * losses["two"]


def test_a_rank_can_grow_and_shrink_and_keeps_to_its_limit():
    layer, batch = case(rank=2, most=5)
    trainer = DynamicalLowRank(0.5, 0.0)
    trainer.start(layer, Task(), 3)
    ranks = [layer.rank]
    for _ in range(3):
        trainer.step(layer, batch)
        ranks.append(layer.rank)
    assert ranks == [2, 4, 5, 5]
    cut(layer, 0.99)
    assert layer.rank == LEAST
    assert sum(value.numel() for value in layer.parameters()) == 2 * (9 + 7) + 4 + 7


def test_what_is_cut_is_at_most_the_threshold():
    layer, _ = case(rank=6, decay=1.7)
    before, threshold = weight(layer), 0.2
    cut(layer, threshold)
    assert torch.linalg.norm(weight(layer) - before) <= threshold * torch.linalg.norm(before)
    assert 2 <= layer.rank < 6


def test_frozen_bases_stay_and_their_core_learns():
    layer, batch = case()
    layer.left.requires_grad_(False)
    layer.right.requires_grad_(False)
    left, core = layer.left.clone(), layer.core.detach().clone()
    trainer = DynamicalLowRank(0.3)
    trainer.start(layer, Task(), 1)
    trainer.step(layer, batch)
    assert torch.equal(layer.left, left)
    assert not torch.equal(layer.core, core)


def test_a_layer_that_the_loss_does_not_see_keeps_its_weight():
    layer, batch = case()
    model = nn.ModuleDict({"seen": layer, "unseen": ThreeFactors(4, 4, rank=2).double()})
    model.forward = lambda x: layer(x)
    before = weight(model["unseen"])
    trainer = DynamicalLowRank(0.3, 0.0)
    trainer.start(model, Task(), 1)
    trainer.step(model, batch)
    assert torch.allclose(weight(model["unseen"]), before, atol=1e-10)


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.5])
def test_the_condition_number_keeps_to_the_tolerance(tolerance):
    layer, batch = case(rank=5, decay=3.0)
    trainer = ConditionClipping(0.3, tolerance)
    trainer.start(layer, Task(), 40)
    assert condition(layer.core) <= 1 + tolerance + 1e-9
    for _ in range(40):
        trainer.step(layer, batch)
        assert condition(layer.core) <= 1 + tolerance + 1e-9
        assert orthonormal(layer.left)
        assert orthonormal(layer.right)
    values = torch.linalg.svdvals(weight(layer))
    assert values[0] / values[4] <= 1 + tolerance + 1e-9


def test_without_a_tolerance_nothing_is_clipped():
    values = torch.tensor([5.0, 1.0, 0.01])
    assert torch.equal(ConditionClipping(tolerance=None).clipped(values), values)
    assert torch.allclose(ConditionClipping(tolerance=0.0).clipped(values), values.square().mean().sqrt().expand(3))


def test_the_clipping_step_turns_a_basis_at_right_angles_to_itself():
    """The part of the slope that lies within the basis is left to the core."""
    layer, batch = case()
    layer.core.data *= 0.5
    F.mse_loss(layer(batch[0]), batch[1]).backward()
    old, (new, _) = layer.left.detach(), ConditionClipping(1e-4)._turned(layer)
    assert (old.T @ (new - old)).abs().max() < 1e-7
    assert (new - old).abs().max() > 1e-6


def test_the_rule_of_truncation():
    values = torch.tensor([3.0, 1.2, 0.4, 0.3])
    assert kept(values, 0.0) == 4
    norm = float(values.norm())
    assert kept(values, 0.5 / norm + 1e-6) == 2
    assert kept(values, 0.45 / norm) == 3  # 0.4 alone could go, but not together with 0.3
    assert kept(values, 0.29 / norm) == 4
    assert kept(values, 0.999999) == 1
    assert kept(torch.zeros(3), 0.1) == 1


def test_bases_widen_and_turn_little():
    basis = orthonormalised(torch.randn(9, 3))
    wide = widened(basis, torch.zeros(9, 3))
    assert wide.shape == (9, 6)
    assert orthonormal(wide)
    assert torch.allclose(wide @ (wide.T @ basis), basis, atol=1e-6)
    assert widened(basis, torch.randn(9, 8)).shape == (9, 9)
    assert torch.allclose(orthonormalised(basis * 3), basis, atol=1e-6)


def test_the_condition_of_a_flat_weight_is_infinite():
    assert condition(torch.diag(torch.tensor([4.0, 2.0]))) == pytest.approx(2)
    assert condition(torch.zeros(2, 2)) == math.inf


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DynamicalLowRank(0.0), "above 0"),
        (lambda: DynamicalLowRank(0.1, 1.0), "from 0 to below 1"),
        (lambda: ConditionClipping(-1.0), "above 0"),
        (lambda: ConditionClipping(0.1, -0.1), "0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
