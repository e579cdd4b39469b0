"""Butterfly products, compiled: every width, rows that do not depend on their batch, known transforms, gradients in shares."""

import pytest
import torch

from labkit.parts.butterfly import butterfly_product
from labkit.parts.kernels.butterfly import butterfly_products

pytest.importorskip("numba", reason="without numba nothing is compiled")


def drawn(depth: int, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(depth)
    n = 1 << depth
    return torch.randn(rows, n), torch.randn(depth, 2, n) / 2**0.5, torch.randn(n)


@pytest.mark.parametrize("depth", range(1, 14))
def test_every_width_equals_plain_torch(depth):
    x, factors, bias = drawn(depth, 11)
    wanted = butterfly_product(x, factors, bias)
    got = butterfly_products(x, factors, bias)
    assert float((got - wanted).abs().max()) <= 2e-6 * float(wanted.abs().max())


@pytest.mark.parametrize("depth", [4, 7, 11])
def test_a_row_has_the_same_bits_in_every_batch(depth):
    x, factors, bias = drawn(depth, 41)
    whole = butterfly_products(x, factors, bias)
    for first, last in ((0, 1), (3, 12), (40, 41)):
        assert torch.equal(butterfly_products(x[first:last], factors, bias), whole[first:last])


def test_it_computes_the_hadamard_transform():
    depth, n = 6, 64
    places = torch.arange(n)
    keep = torch.stack([torch.where(places >> s & 1 == 1, -1.0, 1.0) for s in range(depth)])
    factors = torch.stack((keep, torch.ones(depth, n)), 1)
    out = butterfly_products(torch.eye(n), factors, None)
    assert torch.equal(out @ out, n * torch.eye(n))
    assert bool((out.abs() == 1).all())


def test_what_is_not_a_number_reaches_every_output_of_its_row_only():
    x, factors, bias = drawn(8, 10)
    clean = butterfly_products(x, factors, bias)
    x[4, 77] = float("nan")
    out = butterfly_products(x, factors, bias)
    assert out[4].isnan().all()
    rest = [row for row in range(10) if row != 4]
    assert torch.equal(out[rest], clean[rest])


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_gradients_of_many_rows_equal_plain_torch(rows):
    x, factors, bias = drawn(6, rows)
    slope, found = torch.randn_like(x), []
    for way in (butterfly_products, butterfly_product):
        given = [one.clone().requires_grad_() for one in (x, factors, bias)]
        way(*given).backward(slope)
        found.append([one.grad for one in given])
    for got, wanted in zip(*found, strict=True):
        assert float((got - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_the_number_of_threads_changes_no_bit_of_a_gradient():
    x, factors, bias = drawn(7, 333)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            given = [one.clone().requires_grad_() for one in (x, factors, bias)]
            butterfly_products(*given).backward(x.cos())
            found.append([one.grad for one in given])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_factors_that_do_not_fit_are_refused():
    x, factors, bias = drawn(5, 2)
    for wrong in ((x[:, :16], factors, None), (x, factors[:4], None), (x, factors, bias[:5])):
        with pytest.raises(ValueError, match="do not fit"):
            butterfly_products(*wrong)
