"""Carving trained layers: nothing is lost with all experts, and splits and routers are what they say."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.parts.carved import CarvedExperts, choose, everyone
from labkit.parts.carved_gates import ROUTERS, RepresentativeScore
from labkit.parts.gate import Routing
from labkit.parts.partition import SPLITS
from labkit.recording.batches import answer, evaluating, part_of, scores_of
from labkit.recording.dense_blocks import dense_blocks
from labkit.recording.record import record
from labkit.transforms.split.carve_gated import carve_gated, profile
from labkit.transforms.split.moefication import moefication
from labkit.workbench.pretrained.load import pretrained


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))


X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


def layers(model: nn.Module) -> list[CarvedExperts]:
    return [one for one in model.modules() if isinstance(one, CarvedExperts)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("router", ROUTERS)
def test_all_experts_together_are_the_model(split, router):
    model = network()
    result = moefication(model, (X,), experts=6, chosen=2, split=split, router=router)
    with torch.no_grad(), everyone(result):
        assert torch.allclose(result(X), model(X), atol=1e-5)
    with record(result.eval(), Routing) as trace:
        result(X)
    (routing,) = trace.every(Routing)
    assert routing.choices == 6
    assert routing.index.shape == (64, 2)


@pytest.mark.parametrize("name", ["digits CNN", "t-cell receptors", "Alice"])
@pytest.mark.parametrize("carve", ["moefication", "carve_gated"])
def test_pretrained_models_of_all_kinds_can_be_carved(name, carve):
    known = pretrained(name)
    few, experts = part_of(known.batch, torch.arange(6)), 31 if name == "Alice" else 32
    if carve == "moefication":
        result = moefication(known.model, few, experts=experts, chosen=8, router="mean key")
    else:
        result = carve_gated(known.model, few, experts=experts, shared=4, chosen=4)
    assert len(layers(result)) == len(dense_blocks(known.model, few))
    with evaluating(known.model):
        whole = scores_of(answer(known.model, few))
    with evaluating(result):
        part = scores_of(answer(result, few))
        with everyone(result):
            assert torch.allclose(scores_of(answer(result, few)), whole, atol=1e-3)
    assert torch.isfinite(part).all()
    assert not torch.allclose(part, whole, atol=1e-3)


def test_the_true_mass_never_loses_to_chance_on_what_it_ranks():
    model = network()
    lost = {}
    for router in ("truth", "random"):
        result = moefication(model, (X,), experts=6, chosen=2, router=router)
        (layer,) = layers(result)
        mass = layer.experts.hidden(X).abs().sum(-1)
        lost[router] = mass.gather(1, layer.gate(X).index).sum(1)
    assert (lost["truth"] >= lost["random"] - 1e-5).all()


def test_fixed_experts_are_the_same_for_every_input():
    result = moefication(network(), (X,), experts=6, chosen=2, router="fixed")
    index = layers(result)[0].gate(X).index
    assert (index == index[0]).all()


def test_the_share_that_runs_is_what_was_asked_for():
    result = carve_gated(network(), (X,), experts=6, shared=2, chosen=1)
    assert layers(result)[0].used == 0.5
    choose(result, 0.67)
    assert layers(result)[0].gate.chosen == 2
    choose(result, 0.0)
    assert layers(result)[0].gate.chosen == 1


def test_shared_units_are_the_busiest_and_each_unit_stays_once():
    model = nn.Sequential(nn.Linear(6, 6), Gated(6, 24))
    (block,) = dense_blocks(model, (X,)).values()
    (layer,) = layers(carve_gated(model, (X,), experts=6, shared=2, chosen=1))
    busiest = profile(block).mean(0).argsort(descending=True, stable=True)[:8].sort().values
    assert torch.equal(layer.always.into[0], block.units.into[busiest])
    held = torch.cat([layer.always.into.flatten(0, 1), layer.experts.into.flatten(0, 1)])
    assert torch.equal(held.sort(0).values, block.units.into.sort(0).values)


def test_the_router_is_read_off_a_unit_of_each_expert():
    model = nn.Sequential(nn.Linear(6, 6), Gated(6, 24))
    (layer,) = layers(carve_gated(model, (X,), experts=6, shared=2, chosen=1))
    score = layer.gate.score
    assert isinstance(score, RepresentativeScore)
    keys, values = (F.normalize(one, dim=-1) for one in (layer.experts.into, layer.experts.value))
    for expert in range(4):
        (unit,) = torch.isclose(keys[expert], score.gate[expert], atol=1e-6).all(-1).nonzero()[0]
        assert torch.allclose(values[expert, unit], score.value[expert], atol=1e-6)


def test_the_router_can_be_trained_once_the_loudness_has_moved():
    model = nn.Sequential(nn.Linear(6, 6), Gated(6, 24))
    result = carve_gated(model, (X,), experts=6, shared=2, chosen=2, balance=0.01)
    optimizer = torch.optim.SGD(result.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        result(X).square().mean().backward()
        optimizer.step()
    (layer,) = layers(result)
    assert layer.loudness.abs().sum() > 0
    assert layer.gate.score.gate.grad.abs().sum() > 0
    assert layer.gate.bias.abs().sum() > 0


def test_words_and_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="split by one of weights"):
        moefication(network(), (X,), split="magic")
    with pytest.raises(ValueError, match="24 units do not make 7 groups"):
        moefication(network(), (X,), experts=7)
    with pytest.raises(ValueError, match="from 1 to 2 can be chosen"):
        carve_gated(network(), (X,), experts=4, shared=2, chosen=3)


def test_the_global_chance_is_not_touched():
    model = network()
    state = torch.get_rng_state()
    moefication(model, (X,), experts=6)
    assert torch.equal(state, torch.get_rng_state())


class Gated(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
