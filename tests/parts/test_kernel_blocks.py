"""Blocks and low-rank factors, compiled: rows do not depend on their batch, patterns are right, misfits are refused."""

import pytest
import torch

from labkit.layers.structured.pixelated_butterfly import PixelatedButterfly
from labkit.parts.blocks import block_product, flat_butterfly, shuffled_product
from labkit.parts.kernels.blocks import block_diagonal, block_products, block_shuffle, block_sparse, shuffled_products
from labkit.parts.kernels.engine import kernels
from labkit.parts.kernels.low_rank import low_rank, low_rank_products
from labkit.parts.low_rank import low_rank_product, nearest_low_rank

pytest.importorskip("numba", reason="without numba nothing is compiled")


def near(got: torch.Tensor, wanted: torch.Tensor) -> None:
    assert got.shape == wanted.shape
    assert float((got - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("width", [1, 7, 16, 17, 31, 32, 33, 48, 63, 65, 100])
def test_blocks_of_every_width_fill_their_outputs_and_no_more(width):
    torch.manual_seed(width)
    x, weight = torch.randn(11, 3 * 5), torch.randn(3, 5, width)
    near(block_products(x, weight[:, None], None, 3), block_product(x, weight, None))


@pytest.mark.parametrize(("width", "depth", "across"), [(1, 1, 1), (2, 3, 16), (5, 4, 17), (6, 2, 31), (3, 8, 64)])
def test_diagonals_of_every_size_equal_plain_torch(width, depth, across):
    torch.manual_seed(0)
    count = across if depth * across % across == 0 else 1
    first, second = torch.randn(count, 3, depth * across // count), torch.randn(width, depth, across)
    x, bias = torch.randn(13, 3 * count), torch.randn(width * across)
    near(shuffled_products(x, first, second, bias), shuffled_product(x, first, second, bias))


def test_a_row_has_the_same_bits_in_every_batch():
    torch.manual_seed(0)
    x = torch.randn(75, 96)
    weight, second = torch.randn(3, 32, 32), torch.randn(4, 12, 8)
    down, up = torch.randn(96, 64), torch.randn(64, 128)
    for way in (
        lambda rows: block_products(rows, weight[:, None], None, 3),
        lambda rows: shuffled_products(rows, weight, second, None),
        lambda rows: low_rank_products(rows, down, up, None),
    ):
        whole = way(x)
        for first, last in ((0, 1), (3, 9), (40, 75), (74, 75)):
            assert torch.equal(way(x[first:last]), whole[first:last])


def test_one_row_that_is_not_a_number_spoils_no_other():
    torch.manual_seed(0)
    x, weight = torch.randn(20, 64), torch.randn(2, 32, 40)
    clean = block_products(x, weight[:, None], None, 2)
    x[5, 3], x[9, 40] = float("nan"), float("inf")
    out = block_products(x, weight[:, None], None, 2)
    assert out[5, :40].isnan().all()
    assert torch.equal(out[5, 40:], clean[5, 40:])
    assert out[9, 40:].isinf().all()
    others = [row for row in range(20) if row not in (5, 9)]
    assert torch.equal(out[others], clean[others])


def test_the_flat_butterfly_has_the_blocks_of_the_paper():
    pattern = flat_butterfly(8, 8, 3)
    assert pattern[0] == (0, 1, 2, 4)
    assert pattern[5] == (5, 4, 7, 1)
    assert all(block in pattern[met] for block in range(8) for met in pattern[block])
    assert flat_butterfly(4, 8, 1) == ((0, 1), (0, 1), (1, 0), (1, 0), (2, 3), (2, 3), (3, 2), (3, 2))
    assert flat_butterfly(4, 2, 1) == ((0, 1, 2, 3), (2, 3, 0, 1))
    with pytest.raises(ValueError, match="powers of two"):
        flat_butterfly(6, 6, 1)
    with pytest.raises(ValueError, match="0 to 2 factors"):
        flat_butterfly(4, 8, 3)


@pytest.mark.parametrize(("inside", "outside"), [(32, 32), (16, 64), (64, 16)])
def test_the_sparse_part_is_the_dense_matrix_with_holes(inside, outside):
    torch.manual_seed(0)
    layer = PixelatedButterfly(inside, outside, block=4, rank=2, factors=2)
    x, dense = torch.randn(9, inside), layer.dense()
    assert int((dense != 0).sum()) == layer.weight.numel()
    with torch.no_grad():
        near(block_sparse(x, layer.weight, layer.sources, None), x @ dense)


def test_what_does_not_fit_is_refused_before_memory_is_read():
    x = torch.randn(4, 12)
    for wrong in (
        lambda: block_products(x, torch.randn(3, 1, 5, 2), None, 3),
        lambda: block_products(x, torch.randn(3, 1, 4, 2), torch.randn(5), 3),
        lambda: block_products(x, torch.randn(2, 3, 3, 2), None, 4),
        lambda: block_products(torch.randn(4, 16), torch.randn(4, 3, 4, 4)[:, :2][:, :, :3], None, 4),
        lambda: shuffled_products(x, torch.randn(3, 4, 2), torch.randn(2, 2, 2), None),
        lambda: low_rank_products(x, torch.randn(13, 64), torch.randn(64, 64), None),
        lambda: low_rank_products(x, torch.randn(12, 64), torch.randn(32, 64), None),
        lambda: low_rank_products(x, torch.randn(12, 64), torch.randn(64, 64), torch.randn(1)),
    ):
        with pytest.raises(ValueError, match="do"):
            wrong()


def test_the_faster_way_is_taken_and_gives_the_same():
    torch.manual_seed(0)
    x, weight, second = torch.randn(2, 5, 64), torch.randn(8, 8, 8), torch.randn(8, 8, 8)
    down, up, bias = torch.randn(64, 64), torch.randn(64, 64), torch.randn(64)
    for way in (
        lambda: block_diagonal(x, weight, bias),
        lambda: block_shuffle(x, weight, second, bias),
        lambda: low_rank(x, down, up, bias),
    ):
        with kernels("reference"):
            plain = way()
        with kernels("compiled"):
            near(way(), plain)


def test_the_nearest_factors_are_those_of_the_singular_values():
    torch.manual_seed(0)
    weight = torch.randn(9, 6, dtype=torch.float64)
    down, up = nearest_low_rank(weight, 4)
    left = torch.linalg.svdvals(weight)[4:].square().sum().sqrt()
    assert torch.isclose((weight - low_rank_product(torch.eye(9).double(), down, up, None)).norm(), left)
