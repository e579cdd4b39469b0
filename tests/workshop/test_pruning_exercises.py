"""The exercises on pruning take right answers however they are found, and name what students really get wrong."""

import pytest
import torch

from labkit.transforms.prune.sparsify_weights import chances
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.pruning_exercises import fair, one_threshold


@pytest.fixture
def weight():
    return torch.randn(300, generator=torch.Generator().manual_seed(7)) ** 3


def said(answer, tests) -> str:
    return check(lambda: answer, *tests).says


def test_fair_chances_are_right_however_they_are_found(weight):
    assert check(lambda: chances(weight, 60 / 300), *fair(weight, 60)).right
    assert check(lambda: chances(weight, 60 / 300).float(), *fair(weight, 60)).right


def test_unfair_chances_are_explained(weight):
    tests, size = fair(weight, 60), weight.abs()
    plain = 60 * size / size.sum()
    assert "are above 1. Set them" in said(plain, tests)
    assert "too little" in said(plain.clamp(max=1), tests)
    sure = plain >= 1
    once = torch.where(sure, 1.0, (60 - sure.sum()) * size / size[~sure].sum())
    assert "pushed new ones over" in said(once, tests)
    assert "negative" in said(60 * weight / weight.sum().abs(), tests)
    assert "add up to 30.00" in said(chances(weight, 0.1), tests)
    assert "not in proportion" in said(torch.full_like(weight, 0.2), tests)
    assert "nothing is drawn" in said(plain > 0.5, tests)
    assert "(299,)" in said(plain[1:], tests)
    assert "list" in said([0.2], tests)
    assert said(..., tests) == OPEN


@pytest.fixture
def weights():
    draw = torch.Generator().manual_seed(3)
    return {"into": torch.randn(24, 10, generator=draw), "along": 0.3 * torch.randn(24, 24, generator=draw)}


def masks(weights, share, measure=torch.abs, each=False):
    together = torch.cat([measure(weight).flatten() for weight in weights.values()])
    found = {}
    for name, weight in weights.items():
        sizes = (measure(weight).flatten() if each else together).sort().values
        found[name] = measure(weight) >= sizes[round(share * len(sizes))]
    return found


def test_one_threshold_is_right_however_it_is_found(weights):
    assert check(lambda: masks(weights, 0.6), *one_threshold(weights, 0.6)).right
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    found = {name: weight.abs() > sizes.quantile(0.6) for name, weight in weights.items()}
    assert check(lambda: found, *one_threshold(weights, 0.6)).right


def test_other_thresholds_are_explained(weights):
    tests = one_threshold(weights, 0.6)
    assert "not one for each" in said(masks(weights, 0.6, each=True), tests)
    assert "weight.abs()" in said(masks(weights, 0.6, measure=lambda weight: weight), tests)
    assert "the largest weights go" in said(masks(weights, 0.6, measure=lambda weight: -weight.abs()), tests)
    assert "stay; so many should go" in said({name: ~mask for name, mask in masks(weights, 0.6).items()}, tests)
    assert "it should be" in said(masks(weights, 0.3), tests)
    assert "the weights are into, along" in said({"into": weights["into"] > 1}, tests)
    assert "True and False" in said(weights, tests)
    assert "(23, 10)" in said({**masks(weights, 0.6), "into": weights["into"][1:] > 0}, tests)
    assert "dictionary of masks" in said(weights["into"] > 0, tests)
    assert said(..., tests) == OPEN
