"""A cut stops what lies below its threshold, sends nothing for it, and its two doors agree."""

import pytest
import torch

from labkit.layers.routing.gated_compression import GO, STOP, GatedCompression, going
from labkit.losses.routing.early_stopping import balanced, early_stopping
from labkit.losses.routing.sent_values import sent_values
from labkit.parts.gate import Routing
from labkit.parts.transmission import Transmitted
from labkit.recording.record import record


@pytest.fixture
def cut():
    torch.manual_seed(0)
    return GatedCompression(4, 2, places=5).eval(), torch.randn(60, 4, 5)


def test_what_is_stopped_is_below_the_threshold_and_sends_nothing(cut):
    layer, x = cut
    layer.gate.threshold.fill_(0.6)
    with record(layer, Routing) as trace:
        sent = layer(x)
    likely = torch.sigmoid(layer.gate.score(x.flatten(1)))[:, 0]
    assert torch.equal(trace["gate"].index[:, 0] == STOP, likely < 0.6)
    assert 0 < (likely < 0.6).sum() < len(x)
    assert (sent[likely < 0.6] == 0).all()
    assert torch.allclose(going(trace["gate"]), likely)


def test_both_doors_agree_at_any_threshold(cut):
    layer, x = cut
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.1):
        layer.gate.threshold.fill_(threshold)
        routing, rows, sent = layer.passed(x)
        whole = torch.zeros(60, 2, 5).index_copy(0, rows, sent)
        assert torch.allclose(layer(x), whole)
        assert len(rows) == int((routing.index == GO).sum())


def test_only_what_passes_is_compressed(cut):
    layer, x = cut
    layer.gate.threshold.fill_(0.6)
    with record(layer, Transmitted) as trace:
        rows = layer.passed(x)[1]
    assert len(trace["send"].values) == len(rows) < len(x)
    assert trace["send"].before == 20


def test_a_wider_code_is_refused():
    with pytest.raises(ValueError, match="5 channels does not compress 4"):
        GatedCompression(4, 5, places=2)


def test_rare_inputs_count_as_much_as_frequent_ones():
    wanted = torch.tensor([1.0, *[0.0] * 19])
    cost = torch.tensor([3.0, *[1.0] * 19])
    assert balanced(cost, wanted).item() == pytest.approx(2.0)
    assert balanced(cost, torch.zeros(20)).item() == pytest.approx(cost.mean().item() / 2)


def test_a_gate_that_knows_nothing_costs_a_bit_and_one_that_knows_costs_nothing(cut):
    layer, x = cut
    layer.train()
    wanted = (torch.arange(60) % 6 == 0).long()
    with torch.no_grad():
        layer.gate.score.weight.zero_()
        layer.gate.score.bias.zero_()
    with record(layer, Routing) as trace:
        layer(x)
    assert early_stopping(trace, wanted).item() == pytest.approx(0.6931, abs=1e-4)
    known = x.clone()
    known[:, 0, 0] = 200.0 * wanted - 100
    with torch.no_grad():
        layer.gate.score.weight[0, 0] = 1
    with record(layer, Routing) as trace:
        layer(known)
    assert early_stopping(trace, wanted).item() == pytest.approx(0, abs=1e-6)


def test_what_the_gate_holds_back_costs_little(cut):
    layer, x = cut
    layer.train()
    prices = []
    for bias in (-20.0, 0.0, 20.0):
        with torch.no_grad():
            layer.gate.score.bias.fill_(bias)
        with record(layer, Transmitted) as trace:
            layer(x)
        prices.append(sent_values(trace).item())
    assert prices[0] < 1e-6 < prices[1] < prices[2]
