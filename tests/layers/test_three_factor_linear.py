"""The layer in three factors: its start, its rank and its state."""

import copy
import io

import pytest
import torch

from labkit.layers.structured.three_factor_linear import ThreeFactorLinear


def test_it_starts_orthonormal_with_singular_values_that_fall():
    layer = ThreeFactorLinear(12, 8, rank=4, decay=2.0)
    for basis in (layer.left, layer.right):
        assert torch.allclose(basis.T @ basis, torch.eye(4), atol=1e-6)
    values = torch.linalg.svdvals((layer.left @ layer.core @ layer.right.T).detach())
    assert torch.allclose(values[:3] / values[1:4], torch.full((3,), 2.0), atol=1e-4)
    assert values[4:].abs().max() < 1e-6


def test_a_change_of_rank_keeps_the_parameters_and_changes_their_number():
    layer = ThreeFactorLinear(12, 8, rank=4)
    before, optimizer = list(layer.parameters()), torch.optim.SGD(layer.parameters(), 0.1)
    layer(torch.randn(3, 12)).sum().backward()
    layer.put(layer.left[:, :2], layer.core[:2, :2], layer.right[:, :2])
    assert layer.rank == 2
    assert all(one is other for one, other in zip(before, layer.parameters(), strict=True))
    assert sum(value.numel() for value in layer.parameters()) == 2 * 12 + 2 * 8 + 4 + 8
    assert layer.left.grad is None
    layer(torch.randn(3, 12)).sum().backward()
    optimizer.step()


def test_a_state_of_another_rank_is_taken_over():
    layer, other = ThreeFactorLinear(12, 8, rank=4), ThreeFactorLinear(12, 8, rank=2)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(5, 12)
    assert other.rank == 4
    assert torch.equal(other(x), layer(x))
    assert other.left.data_ptr() != layer.left.data_ptr()


def test_a_state_that_does_not_fit_is_refused():
    layer = ThreeFactorLinear(12, 8, rank=2, most=3)
    before = copy.deepcopy(layer.state_dict())
    for other in (ThreeFactorLinear(12, 8, rank=4), ThreeFactorLinear(11, 8, rank=3)):
        with pytest.raises(RuntimeError, match="size mismatch"):
            layer.load_state_dict(other.state_dict())
    assert layer.rank == 2
    assert layer.left.shape == before["left"].shape


def test_a_most_above_the_smaller_width_is_lowered_and_bad_ranks_are_refused():
    assert ThreeFactorLinear(12, 8, rank=4, most=100).most == 8
    for rank in (0, 9):
        with pytest.raises(ValueError, match="12 x 8"):
            ThreeFactorLinear(12, 8, rank=rank)
    with pytest.raises(ValueError, match="1 or more"):
        ThreeFactorLinear(12, 8, rank=2, decay=0.5)
