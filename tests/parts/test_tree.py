"""What is special about trees: shares, paths, leaks, hardening."""

import pytest
import torch

from labkit.parts.relaxation import RegionLeak, binary_entropy, softened
from labkit.parts.tree import Branching, TreeGate, descend, leaf_probabilities
from labkit.recording.record import record


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_leaf_shares_sum_to_one(depth):
    shares = leaf_probabilities(torch.randn(7, 3, 2**depth - 1).double(), depth)
    assert shares.shape == (7, 3, 2**depth)
    torch.testing.assert_close(shares.sum(-1), torch.ones(7, 3).double())


def test_sharp_scores_lead_to_the_leaf_that_the_path_reaches():
    gate = TreeGate(5, depth=4).double()
    x = torch.randn(300, 5).double()
    soft = leaf_probabilities((x @ gate.weight.T + gate.bias) * 1e9, 4)
    assert torch.equal(soft.argmax(-1), gate.eval()(x).index.squeeze(-1))


def test_reading_only_the_path_equals_scoring_every_node():
    depth, width = 9, 6  # 511 nodes: rows are gathered; with fewer nodes all are scored at once
    weight, bias = torch.randn(2, 2**depth - 1, width).double(), torch.randn(2, 2**depth - 1).double()
    x = torch.randn(50, width).double()
    node, scores, end = descend(x, weight, bias, depth)
    every = torch.einsum("nw,tow->nto", x, weight) + bias
    torch.testing.assert_close(scores, every.gather(-1, node))
    step = node
    for level in range(depth - 1):
        assert torch.equal(step[..., level + 1], 2 * step[..., level] + 1 + (scores[..., level] >= 0))
    assert torch.equal(end, 2 * (node[..., -1] - (2 ** (depth - 1) - 1)) + (scores[..., -1] >= 0))


def test_a_tree_without_levels_has_one_leaf():
    gate = TreeGate(3, depth=0)
    for training in (True, False):
        routing = gate.train(training)(torch.randn(4, 3))
        assert routing.choices == 1
        assert torch.equal(routing.mixture(), torch.ones(4, 1))


def test_a_leak_swaps_left_and_right_at_its_rate_in_training_only():
    leak = RegionLeak(0.3)
    scores = torch.ones(200_000)
    assert abs((leak.train()(scores) < 0).float().mean().item() - 0.3) < 0.01
    assert torch.equal(leak.eval()(scores), scores)
    with pytest.raises(ValueError, match="probability"):
        RegionLeak(1.0)


def test_the_leak_reaches_the_mixture_but_not_the_scores():
    gate = TreeGate(3, depth=3, leak=0.4)
    routing = gate.train()(torch.randn(50, 3))
    assert not torch.allclose(routing.weights, routing.scores)
    with softened(gate.eval()):
        calm = gate(torch.randn(50, 3))
    assert torch.equal(calm.weights, calm.scores)


def test_binary_entropy_is_one_bit_at_zero_and_vanishes_far_out():
    bits = binary_entropy(torch.tensor([0.0, 40.0, -40.0]).double()) / torch.log(torch.tensor(2.0).double())
    torch.testing.assert_close(bits, torch.tensor([1.0, 0.0, 0.0]).double(), atol=1e-12, rtol=0)


def test_softened_puts_every_mode_back_even_after_an_error():
    model = torch.nn.Sequential(TreeGate(3, depth=2), torch.nn.Dropout(0.5))
    model.eval()
    model[1].train()
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError), softened(model):  # noqa: PT012
        assert model[0].training
        assert not model[1].training
        raise RuntimeError
    assert [module.training for module in model.modules()] == modes


def test_decisions_are_recorded_in_training_and_on_the_path_in_evaluation():
    gate = TreeGate(3, depth=3)
    x = torch.randn(5, 3)
    with record(gate.train(), Branching) as trace:
        gate(x)
    assert trace["decisions"].scores.shape == (5, 7)
    with record(gate.eval(), Branching) as trace:
        gate(x)
    assert trace["decisions"].scores.shape == trace["decisions"].node.shape == (5, 3)
    assert trace["decisions"].nodes == 7
