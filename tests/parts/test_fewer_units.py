"""Running fewer units: each way with all of them is the dense layer, and with fewer it keeps those that it says it keeps."""

import copy

import pytest
import torch

from labkit.parts.carved import DenseUnits
from labkit.parts.fewer_units import BestUnits, EachInput, Experts, active_share, keep
from labkit.parts.threshold import counted_active
from labkit.parts.unit_scores import SCORES, best_first, unit_scores

WAYS = [
    *(BestUnits(score) for score in SCORES),
    *(EachInput(rule, by) for rule in ("WINA", "magnitude", "random") for by in ("threshold", "top-k")),
    Experts(8, "weights", "mean key"),
    Experts(8, "co-activation", "network"),
]


def dense(activation: str = "relu", gated: bool = False, units: int = 24) -> DenseUnits:
    chance = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=chance)

    value = (drawn(units, 6), drawn(units)) if gated else (None, None)
    return DenseUnits(activation, drawn(units, 6), drawn(units), *value, drawn(units, 5), drawn(5))


X = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
FORMS = [("relu", False), ("gelu", False), ("silu", True)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_with_all_units_it_is_the_dense_layer(way, form):
    units = dense(*form)
    layer = way.layer(units, X, 1.0).eval()
    with torch.no_grad():
        assert torch.allclose(layer(X), units.answer(X), atol=1e-4)
        keep(layer, 0.25)
        assert not torch.allclose(layer(X), units.answer(X), atol=1e-3)
        keep(layer, 1.0)
        assert torch.allclose(layer(X), units.answer(X), atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("score", SCORES)
def test_a_fixed_mask_keeps_the_units_of_the_highest_score(score, form):
    units = dense(*form)
    best = best_first(unit_scores(units, X, score, 3))[:6]
    wanted = units.hidden(X)[:, best] @ units.out[best] + units.out_bias
    with torch.no_grad():
        assert torch.allclose(BestUnits(score).layer(units, X, 0.25, 3)(X), wanted, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", ["WINA", "magnitude"])
def test_a_mask_for_each_input_keeps_what_scores_highest_in_it(rule, form):
    units = dense(*form)
    hidden = units.hidden(X)
    score = hidden.abs() * (units.out.norm(dim=1) if rule == "WINA" else 1)
    kept = torch.zeros_like(score).scatter_(1, score.topk(6).indices, 1)
    layer = EachInput(rule, "top-k").layer(units, X, 0.25)
    wanted = (hidden * kept) @ units.out + units.out_bias
    assert torch.allclose(layer(X), wanted, atol=1e-4)
    with torch.no_grad():
        for few in (X, X[:1]):  # the product that reads few weights
            assert torch.allclose(layer(few), wanted[: len(few)], atol=1e-4)
        assert torch.allclose(layer(torch.cat([X, X]))[:50], wanted, atol=1e-4)  # the product for many rows


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_thresholds_keep_about_the_share_on_what_they_were_set_on(share):
    layer = EachInput("magnitude").layer(dense("gelu"), X, share)
    assert abs(active_share(layer, X) - share) < 0.01


def test_the_share_counts_zeros_and_groups():
    units = dense("relu")
    layer = EachInput().layer(units, X, 1.0)
    assert active_share(layer, X) == float((units.hidden(X) != 0).float().mean())
    assert active_share(BestUnits().layer(units, X, 0.5), X) == 0.5
    assert active_share(Experts(8, "random", "mean key").layer(units, X, 0.25), X) == 0.25


def test_experts_that_do_not_fit_become_fewer():
    assert Experts(7, "random", "mean key").layer(dense(), X, 0.5).experts.groups == 6


def test_scores_are_what_they_are_called():
    units = dense("relu")
    hidden = units.hidden(X)
    assert torch.allclose(
        unit_scores(units, X, "output norm"), (hidden.abs()[:, :, None] * units.out).norm(dim=2).mean(0), atol=1e-4
    )
    assert torch.allclose(unit_scores(units, X, "how active"), hidden.mean(0))
    assert torch.allclose(unit_scores(units, X, "how often"), (hidden > 0).float().mean(0), atol=1e-5)
    assert torch.equal(unit_scores(units, X, "weights"), unit_scores(units, 5 * X, "weights"))
    assert torch.equal(unit_scores(units, X, "random", 1), unit_scores(units, X, "random", 1))
    assert not torch.equal(unit_scores(units, X, "random", 1), unit_scores(units, X, "random", 2))


def test_without_zeros_the_loudest_fifth_is_active():
    rows = torch.randn(30, 10)
    assert (counted_active(rows).sum(1) == 2).all()
    assert torch.equal(counted_active(rows.relu()), rows > 0)


def test_copies_are_independent_and_chance_is_not_touched():
    state = torch.get_rng_state()
    layer = EachInput("random", "top-k").layer(dense("gelu"), X, 0.5)
    twin = copy.deepcopy(layer)
    keep(twin, 0.25)
    assert layer.share == 0.5
    assert torch.equal(layer(X), layer(X))
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="units are scored by one of"):
        unit_scores(dense(), X, "magic")
    with pytest.raises(ValueError, match="kept by WINA, magnitude or random"):
        EachInput("magic")
    with pytest.raises(ValueError, match="not 0"):
        keep(BestUnits().layer(dense(), X, 0.5), 0)
    with pytest.raises(ValueError, match="has no layer that can run fewer units"):
        keep(torch.nn.Linear(3, 3), 0.5)
