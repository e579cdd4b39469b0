"""Hopfield updates: attention when there is one step, never upwards in energy, and retrieval as the theory says."""

import pytest
import torch

from labkit.analysis.attention.metastability import covering, metastability, pattern_shares
from labkit.layers.memory.hopfield_association import HopfieldAssociation
from labkit.layers.memory.hopfield_lookup import HopfieldLookup
from labkit.layers.memory.hopfield_pooling import HopfieldPooling
from labkit.parts.hopfield import associate, energy, hebbian, recall, settle


@pytest.fixture
def patterns():
    return torch.randn(12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_one_step_is_attention(patterns):
    state, value = patterns[:4].flip(-1), patterns[:, :5]
    expected = (0.3 * state @ patterns.T).softmax(-1) @ value
    torch.testing.assert_close(associate(state, patterns, beta=0.3, value=value), expected)


def test_one_step_of_the_layer_is_multihead_attention():
    layer, peer = HopfieldAssociation(8, heads=2).double(), torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat((layer.query.weight, layer.key.weight, layer.value.weight)))
        peer.in_proj_bias.zero_()
        peer.out_proj.weight.copy_(layer.out.weight)
        peer.out_proj.bias.copy_(layer.out.bias)
    state, stored = torch.randn(3, 4, 8).double(), torch.randn(3, 6, 8).double()
    normed = layer.stored_norm(stored)
    torch.testing.assert_close(
        layer(state, stored), peer(layer.state_norm(state), normed, normed, need_weights=False)[0]
    )


@pytest.mark.parametrize("beta", [0.05, 0.3, 2.0])
def test_energy_never_rises_and_is_not_negative(patterns, beta):
    state = 3 * torch.randn(50, 16, dtype=torch.float64)
    before = energy(state, patterns, beta=beta)
    for _ in range(10):
        state = associate(state, patterns, beta=beta)
        after = energy(state, patterns, beta=beta)
        assert (after <= before + 1e-9).all()
        before = after
    assert (after >= -1e-9).all()


def test_sharp_states_settle_at_the_nearest_pattern_and_soft_ones_at_one_average(patterns):
    sharp, _ = settle(patterns + 0.05, patterns, beta=20.0)
    torch.testing.assert_close(sharp, patterns, atol=1e-3, rtol=0)
    soft, taken = settle(patterns, patterns, beta=1e-3, within=1e-9)
    torch.testing.assert_close(soft, soft[:1].expand_as(soft), atol=1e-6, rtol=0)
    assert (taken > 1).all()


def test_where_a_state_settles_does_not_depend_on_the_others(patterns):
    states = torch.randn(6, 16, dtype=torch.float64)
    together, taken = settle(states, patterns, beta=0.2)
    for place in range(len(states)):
        alone, steps = settle(states[place : place + 1], patterns, beta=0.2)
        torch.testing.assert_close(alone[0], together[place])
        assert steps.item() == taken[place].item()


def test_settling_leaves_its_argument_alone_and_stops_in_time(patterns):
    states = torch.randn(6, 16, dtype=torch.float64)
    given = states.clone()
    _, taken = settle(states, patterns, beta=0.2, within=0.0, most=3)
    assert torch.equal(states, given)
    assert taken.tolist() == [3] * 6


def test_the_classic_network_recalls_few_patterns_and_keeps_what_nothing_pushes():
    stored = torch.randint(2, (3, 100), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    weights = hebbian(stored)
    assert torch.equal(weights.diagonal(), torch.zeros(100))
    assert torch.equal(recall(stored * (torch.arange(100) >= 10), weights), stored)
    assert torch.equal(recall(stored, torch.zeros(100, 100)), stored)


@pytest.mark.parametrize("bad", ["state", "stored"])
def test_what_is_not_a_number_is_not_hidden_by_torchs_fused_operation(patterns, bad):
    parts = {
        "state": torch.zeros(2, 1, 3, 16),
        "stored": patterns.float().repeat(2, 1, 1, 1),
    }  # fused with an axis of heads
    parts[bad][1] = float("nan")
    with torch.no_grad():
        out = associate(**parts, beta=1.0)
    assert torch.isfinite(out[0]).all()
    assert out[1].isnan().all()


def test_pooling_does_not_care_about_the_order_of_a_set_nor_its_size():
    layer = HopfieldPooling(6, 5, heads=2, steps=3)
    stored = torch.randn(4, 7, 6)
    torch.testing.assert_close(layer(stored), layer(stored[:, torch.randperm(7)]))
    torch.testing.assert_close(layer(stored), layer(stored.repeat(1, 2, 1)))  # all members twice: the same shares


def test_bad_sizes_are_refused_with_a_sentence():
    for make, word in (
        (lambda: HopfieldAssociation(6, heads=4), "divide"),
        (lambda: HopfieldAssociation(6, steps=0), "one step"),
        (lambda: HopfieldAssociation(6, beta=0.0), "beta above 0"),
        (lambda: HopfieldPooling(6, 5, heads=4), "divide"),
        (lambda: HopfieldPooling(6, 5, steps=0), "one step"),
        (lambda: HopfieldPooling(6, 5, beta=-1.0), "beta above 0"),
        (lambda: HopfieldLookup(6, 5, patterns=0), "needs a pattern"),
        (lambda: HopfieldLookup(6, 5, patterns=2, beta=0.0), "beta above 0"),
    ):
        with pytest.raises(ValueError, match=word):
            make()


def test_covering_counts_the_largest_weights():
    weights = torch.tensor([[0.5, 0.4, 0.1, 0.0], [0.25] * 4, [1.0, 0.0, 0.0, 0.0]])
    assert covering(weights).tolist() == [2, 4, 1]
    assert covering(weights, 1.0).tolist() == [3, 4, 1]


def test_metastability_tells_averaging_heads_from_heads_that_choose():
    batch = (torch.randn(5, 20, 8), torch.zeros(5))
    for beta, low, high in ((1e-4, 17, 20), (1e4, 1, 1)):
        pooling = torch.nn.Sequential(HopfieldPooling(8, 3, heads=2, steps=2, beta=beta))
        found = metastability(pooling, batch)
        assert found.sizes["head"] == 2
        assert found.patterns.values.tolist() == [20] * found.sizes["layer"]
        assert ((found >= low) & (found <= high)).all()
        shares = pattern_shares(pooling, batch)
        assert shares.sum("held").values == pytest.approx(1.0)
        assert float(shares.sel(held=slice(low, high)).sum("held").min()) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="mass above 0"):
        metastability(pooling, batch, mass=0.0)
