"""A predictor finds what can be found from the input, and no more than the frequent units where nothing can."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.analysis.sparsity.predictor_recall import measured, predicted, predictor_recall
from labkit.errors import LabError
from labkit.recording.entering import entering


def network(width=64):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))


def test_the_input_of_a_block_stands_beside_its_units():
    model, x = network(), torch.randn(10, 8)
    given, said = entering(model, (x,))["1"]
    assert torch.equal(given.values, x)
    assert torch.equal(said.values, model[:2](x))
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_units_that_the_input_decides_are_found_and_frequency_alone_does_not():
    found = predictor_recall(network(), (torch.randn(4000, 8),), kept=[0.25, 0.5, 1.0], rank=8).sel(layer="1")
    assert float(found.sel(kept=0.5, quantity="recall")) > 0.8
    assert float(found.sel(kept=0.5, quantity="recall of the most frequent")) < 0.65
    assert (found.sel(quantity="share of activation") > found.sel(quantity="recall") - 1e-6).all()
    assert found.sel(kept=1.0).values == pytest.approx([1, 1, 1, 1])


def test_what_the_input_does_not_tell_is_not_found():
    x, active = torch.randn(3000, 8), torch.rand(3000, 50) < 0.2
    score, often = predicted(x[:1500], active[:1500], x[1500:], rank=8)
    recall = measured(active[1500:].float(), active[1500:], score, often, [0.2])[0]
    assert recall[0] == pytest.approx(0.2, abs=0.02)
    assert recall[1] == pytest.approx(0.2, abs=0.02)


def test_a_predictor_without_rank_enough_finds_less():
    batch, model = (torch.randn(4000, 8),), network()
    recall = [
        float(predictor_recall(model, batch, kept=[0.4], rank=rank).sel(quantity="recall").item()) for rank in (1, 3, 8)
    ]
    assert recall[0] < recall[1] - 0.03
    assert recall[1] < recall[2] - 0.03


def test_the_low_rank_is_the_best_of_that_rank():
    x, active = torch.randn(500, 8), torch.randn(500, 30) + torch.randn(500, 8) @ torch.randn(8, 30) > 0
    whole, often = predicted(x, active, x, rank=8)
    low = (predicted(x, active, x, rank=3)[0] - often).double()
    u, s, v = torch.linalg.svd((whole - often).double(), full_matrices=False)
    assert torch.allclose(low, (u[:, :3] * s[:3]) @ v[:3], atol=1e-5)


def test_recall_is_counted_as_by_hand():
    values = torch.relu(torch.randn(30, 10))
    active, score, often = values > 0, torch.randn(30, 10), torch.rand(10)
    found = measured(values, active, score, often, [0.3])[0]
    hits = mass = 0.0
    for row in range(30):
        for unit in sorted(range(10), key=lambda one: -float(score[row, one]))[:3]:
            hits += bool(active[row, unit])
            mass += float(values[row, unit])
    assert found[0] == pytest.approx(hits / float(active.sum()))
    assert found[2] == pytest.approx(mass / float(values.sum()), rel=1e-5)


@torch.no_grad()
def test_the_measured_inputs_are_not_those_of_the_fit():
    model, x = network(), torch.randn(200, 8)
    found = predictor_recall(model, (x,), kept=[0.2], rank=8)
    other = x.clone()
    other[1::2] = torch.randn(100, 8)
    score, _ = predicted(x[0::2], model[:2](x[0::2]) > 0, other[1::2], 8)
    said = model[:2](other[1::2])
    by_hand = measured(said, said > 0, score, torch.zeros(64), [0.2])[0][0]
    assert float(predictor_recall(model, (other,), kept=[0.2], rank=8)[0, 0, 0]) == pytest.approx(by_hand, abs=1e-3)
    assert not np.isnan(found).any()


def test_too_few_inputs_are_told():
    with pytest.raises(LabError, match="4 inputs or more"):
        predictor_recall(network(), (torch.randn(3, 8),))
