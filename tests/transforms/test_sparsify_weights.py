"""Sparse weights: exactly as many as asked for, right on average where they say so, and bitwise the model at density 1."""

import itertools

import pytest
import torch
from torch import nn

from labkit.parts.mask import weights_of
from labkit.transforms.prune.sparsify_weights import (
    STRATEGIES,
    chances,
    error_bound,
    sparse,
    sparsify_weights,
    spectral_error,
    spectrum,
    systematic,
)

LAYOUTS = ("uniform", "erdos_renyi", "global")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 40), nn.ReLU(), nn.Linear(40, 5))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("by", "layout"), list(itertools.product(STRATEGIES, LAYOUTS)))
def test_exactly_as_many_weights_stay_and_biases_do(by, layout):
    model = network()
    total = sum(weight.numel() for weight in weights_of(model).values())
    for density in (0.5, 0.1, 0.03):
        found = sparsify_weights(model, density=density, by=by, layout=layout)
        kept = sum(int((weight != 0).sum()) for weight in weights_of(found).values())
        assert abs(kept - density * total) <= 2, "the number is rounded once in each layer"
        for one, other in zip(model.parameters(), found.parameters(), strict=True):
            assert one.ndim > 1 or torch.equal(one, other)


@pytest.mark.parametrize(("by", "layout"), list(itertools.product(STRATEGIES, LAYOUTS)))
def test_at_density_one_nothing_changes(by, layout):
    model = network()
    found = sparsify_weights(model, density=1.0, by=by, layout=layout)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), found.parameters(), strict=True))


@pytest.mark.parametrize("power", [1, 2])
def test_sampling_is_right_on_average(power):
    weight, draws = torch.randn(6, 10, generator=draw(1)), 4000
    generator, chance = draw(2), chances(weight, 0.3, power=power)
    mean = sum(sparse(weight, 0.3, generator, power=power).double() for _ in range(draws)) / draws
    error = (weight.double() ** 2 * (1 / chance - 1) / draws).sqrt()
    assert ((mean - weight).abs() <= 5 * error + 1e-6).all()
    assert (mean - weight).abs().max() > 0, "something was drawn"


def test_among_candidates_it_is_right_on_average_for_them():
    weight, generator = torch.randn(6, 10, generator=draw(1)), draw(2)
    mean = sum(sparse(weight, 0.2, generator, candidates=2).double() for _ in range(3000)) / 3000
    last = weight.abs().flatten().sort(descending=True).values[24 - 1]
    assert not mean[weight.abs() < last].any()
    assert torch.allclose(mean[weight.abs() >= last], weight[weight.abs() >= last].double(), atol=0.15)


def test_as_many_candidates_as_places_is_thresholding():
    weight = torch.randn(30, 20, generator=draw(1))
    assert torch.equal(sparse(weight, 0.2, draw(), candidates=1), sparse(weight, 0.2, draw(), by="magnitude"))


def test_chances_add_up_and_grow_with_magnitude():
    weight = torch.randn(40, 30, generator=draw(1)) ** 3
    for density, power in itertools.product((0.5, 0.1, 0.01), (1, 2)):
        chance = chances(weight, density, power=power)
        assert chance.sum().item() == pytest.approx(round(density * weight.numel()), abs=1e-6)
        assert chance.max() <= 1
        assert (chance > 0).all()
        order = weight.abs().flatten().argsort()
        assert (chance.flatten()[order].diff() >= -1e-12).all()
    one = chances(weight, 0.1, power=1)
    drawn = one < 1
    ratio = one[drawn] / weight[drawn].abs()
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio)), "what is drawn is drawn in proportion to magnitude"


def test_drawn_weights_of_the_first_power_become_one_size():
    weight = torch.randn(40, 30, generator=draw(1))
    found, chance = sparse(weight, 0.1, draw()), chances(weight, 0.1)
    sizes = found[(found != 0) & (chance < 1)].abs()
    assert len(sizes) > 10
    assert torch.allclose(sizes, sizes[:1].expand_as(sizes))


def test_a_draw_has_its_number_whatever_the_chances():
    generator = draw(3)
    for _ in range(50):
        chance = torch.rand(500, generator=generator, dtype=torch.float64)
        chance = (chance * 40 / chance.sum()).clamp(max=1)
        chance[-1] += 40 - chance.sum()
        assert int(systematic(chance, generator).sum()) == 40
    assert not systematic(torch.zeros(7, dtype=torch.float64), generator).any()


def test_neighbours_may_be_drawn_together():
    generator, chance = draw(4), torch.full((10,), 0.3, dtype=torch.float64)
    both = sum(bool(systematic(chance, generator)[:2].all()) for _ in range(300))
    assert 5 < both < 60, "in the order of their places two neighbours would never both be drawn"


def test_singular_values_move_no_further_than_the_error():
    weight = torch.randn(30, 50, generator=draw(1))
    assert torch.allclose(spectrum(weight), torch.linalg.svdvals(weight.double()), atol=1e-6)
    for by in STRATEGIES:
        found = sparse(weight, 0.2, draw(), by=by)
        moved = (spectrum(weight) - spectrum(found)).abs().max() / spectrum(weight)[0]
        assert moved <= spectral_error(weight, found) + 1e-9
    assert spectral_error(weight, weight) == 0


@pytest.mark.parametrize(("power", "candidates"), [(1, None), (1, 2.0), (2, 3.0)])
def test_the_error_of_what_is_drawn_is_below_its_bound(power, candidates):
    weight, generator = torch.randn(40, 60, generator=draw(1)), draw(2)
    aimed = torch.where(chances(weight, 0.1, power=power, candidates=candidates) > 0, weight, 0)
    found = [sparse(weight, 0.1, generator, power=power, candidates=candidates) for _ in range(30)]
    mean = sum(spectrum(aimed - one)[0].item() for one in found) / 30
    bound = error_bound(weight, 0.1, power=power, candidates=candidates)
    assert mean <= bound
    assert bound < 20 * mean, "a bound that says something"


def test_rescaling_keeps_the_sum_of_the_squared_singular_values():
    weight = torch.randn(30, 50, generator=draw(1))
    found = sparse(weight, 0.1, draw(), by="rescaled")
    assert (spectrum(found) ** 2).sum().item() == pytest.approx((spectrum(weight) ** 2).sum().item(), rel=1e-5)


def test_a_model_that_is_sparse_already_does_not_grow():
    weight = torch.randn(20, 20, generator=draw(1)) * (torch.rand(20, 20, generator=draw(2)) < 0.1)
    for by in STRATEGIES:
        assert not sparse(weight, 0.5, draw(), by=by)[weight == 0].any()


def test_refuses_what_is_no_pruning():
    model = network()
    with pytest.raises(ValueError, match="by sampling, magnitude, rescaled, random"):
        sparsify_weights(model, by="size")
    with pytest.raises(ValueError, match="density is above 0"):
        sparsify_weights(model, density=0.0, layout="global")
    with pytest.raises(ValueError, match="at least as many candidates"):
        sparsify_weights(model, candidates=0.5)
    with pytest.raises(ValueError, match="no linear"):
        sparsify_weights(nn.ReLU())
