"""The families of functions: what the textbooks say of them, and that a curve of each can be made of its terms."""

import math

import pytest
import torch

from labkit.parts.bases import BASES, FEWEST, all_terms, wavelet_place
from labkit.parts.splines import even_knots

X = torch.linspace(-1, 1, 201, dtype=torch.float64)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("terms", [FEWEST, 8, 15])
def test_as_many_terms_as_asked_for_also_for_extreme_inputs(name, terms):
    x = torch.tensor([[-1e4, -3.0, 0.0], [1.0, 3.0, 1e4]], requires_grad=True)
    found = BASES[name](x, terms)
    assert found.shape == (2, 3, terms)
    assert found.isfinite().all()
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", BASES)
def test_no_term_can_be_left_out(name):
    """No term is a sum of the others: the terms at many places have full rank."""
    assert torch.linalg.matrix_rank(BASES[name](X, 8)) == 8


@pytest.mark.parametrize("name", BASES)
def test_every_family_can_say_a_constant_inside_bumps_nearly(name):
    table = BASES[name](X, 8)
    fitted = table @ torch.linalg.lstsq(table, torch.ones(len(X), 1, dtype=torch.float64)).solution
    assert (fitted - 1).abs().max() < (0.1 if name == "radial" else 1e-6)


def test_splines_sum_to_one_inside_and_fade_outside():
    found = BASES["spline"](torch.tensor([-9.0, -0.99, 0.1, 0.99, 9.0]), 8)
    assert torch.allclose(found.sum(-1), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0]), atol=1e-6)
    assert even_knots(-1, 1, 8 - 3, 3, 1).shape == (1, 12)


def test_chebyshev_is_the_cosine_of_a_multiple_of_the_angle():
    angle = torch.tanh(X).acos()
    expected = torch.stack([torch.cos(place * angle) for place in range(8)], -1)
    assert torch.allclose(BASES["chebyshev"](X, 8), expected)


def test_fourier_is_orthogonal_over_a_period():
    x = torch.arange(400, dtype=torch.float64) / 200 - 1
    found = BASES["fourier"](x, 7)
    table = found.T @ found / len(x)
    assert torch.allclose(table, torch.diag(torch.tensor([1.0] + [0.5] * 6, dtype=torch.float64)), atol=1e-9)


def test_bumps_stand_evenly_and_reach_one():
    middle = torch.linspace(-1, 1, 5)
    assert torch.allclose(BASES["radial"](middle, 5).diagonal(), torch.ones(5))
    assert BASES["radial"](middle, 5)[0, 1].item() == pytest.approx(math.exp(-1))


def test_wavelets_halve_from_level_to_level_and_sum_to_nothing():
    assert [wavelet_place(term) for term in (1, 2, 3, 4, 7)] == [
        (0.0, 1.0),
        (-0.5, 0.5),
        (0.5, 0.5),
        (-0.75, 0.25),
        (0.75, 0.25),
    ]
    wide = torch.linspace(-20, 20, 8001, dtype=torch.float64)
    hat = BASES["wavelet"](wide, 4)[:, 1:]
    assert torch.allclose(hat.sum(0) * (wide[1] - wide[0]), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    energy = (hat**2).sum(0) * (wide[1] - wide[0])
    assert torch.allclose(energy, torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64), atol=1e-9)


def test_families_stand_side_by_side():
    found = all_terms(X.float(), ("fourier", "radial"), 6)
    assert found.shape == (201, 2, 6)
    assert torch.equal(found[:, 1], BASES["radial"](X.float(), 6))
