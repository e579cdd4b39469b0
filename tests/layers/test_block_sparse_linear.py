"""Blocks of weights at given places: both ways to compute agree, patterns are what they say, wrong ones are refused."""

import copy

import pytest
import torch

from labkit.layers.structured.block_sparse_linear import SMALL, BlockSparseLinear, local_pattern, random_pattern
from labkit.layers.structured.pixelated_butterfly import PixelatedButterfly
from labkit.parts.blocks import flat_butterfly


@pytest.mark.parametrize("block", [SMALL // 2, SMALL, 2 * SMALL])
def test_training_and_evaluation_compute_the_same(block):
    torch.manual_seed(0)
    layer = BlockSparseLinear(4 * block, 6 * block, block=block, pattern=random_pattern(4, 6, 2))
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, 5, 4 * block)
    with torch.no_grad():
        by_blocks = layer(x)
    assert torch.allclose(layer(x), by_blocks, atol=1e-5)
    assert torch.allclose(x @ layer.dense() + layer.bias, by_blocks, atol=1e-5)


def test_nothing_is_where_no_block_is_and_training_leaves_it_so():
    torch.manual_seed(0)
    layer = BlockSparseLinear(8, 8, block=2, pattern=local_pattern(4, 4, 2))
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(16, 8)).square().sum().backward()
        optimizer.step()
    whole = layer.dense().unflatten(1, (4, 2)).unflatten(0, (4, 2)).abs().sum((1, 3))
    assert (whole > 0).int().T.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_with_the_pattern_of_the_flat_butterfly_it_is_the_sparse_part_of_the_pixelated_butterfly():
    torch.manual_seed(0)
    other = PixelatedButterfly(32, 64, block=4, rank=2, factors=2)
    layer = BlockSparseLinear(32, 64, block=4, pattern=flat_butterfly(8, 16, 2))
    layer.weight.data = other.weight.data
    assert torch.equal(layer.dense(), other.dense())


def test_the_pattern_is_saved_with_the_weights():
    torch.manual_seed(0)
    layer, other = (BlockSparseLinear(16, 16, block=2, pattern=random_pattern(8, 8, 2)) for _ in range(2))
    assert not torch.equal(layer.sources, other.sources)
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    x = torch.randn(4, 16)
    assert torch.equal(layer(x), other(x))


def test_random_patterns_have_as_many_different_blocks_everywhere_and_follow_the_seed():
    torch.manual_seed(3)
    first = random_pattern(8, 200, 3)
    torch.manual_seed(3)
    assert random_pattern(8, 200, 3) == first
    assert {len(set(met)) for met in first} == {3}
    assert {one for met in first for one in met} == set(range(8))
    assert random_pattern(8, 200, 3) != first


def test_a_band_stays_inside_and_is_stretched():
    assert local_pattern(6, 6, 3) == [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [3, 4, 5]]
    assert local_pattern(4, 8, 1) == [[0], [0], [1], [1], [2], [2], [3], [3]]
    assert local_pattern(8, 4, 2) == [[0, 1], [1, 2], [3, 4], [5, 6]]
    assert local_pattern(3, 2, 3) == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ([[0], [1]], "a pattern for 2 blocks of outputs does not fit a layer of 3"),
        ([[0], [1], [0, 1]], "meets as many blocks of inputs"),
        ([[], [], []], "meets as many blocks of inputs"),
        ([[0, 0], [0, 1], [0, 1]], "block 0 of outputs meets a block of inputs twice"),
        ([[0], [1], [4]], "the blocks of inputs are 0 to 3"),
        ([[0], [1], [-1]], "the blocks of inputs are 0 to 3"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(pattern, sentence):
    with pytest.raises(ValueError, match=sentence):
        BlockSparseLinear(8, 6, block=2, pattern=pattern)


@pytest.mark.parametrize("block", [0, 3])
def test_blocks_that_do_not_divide_are_refused(block):
    with pytest.raises(ValueError, match="do not divide widths of 8 and 6"):
        BlockSparseLinear(8, 6, block=block, pattern=[[0], [1], [2]])


@pytest.mark.parametrize("make", [random_pattern, local_pattern])
@pytest.mark.parametrize("terms", [0, 5])
def test_more_blocks_than_there_are_cannot_be_met(make, terms):
    with pytest.raises(ValueError, match=f"1 to 4 blocks of inputs, not {terms}"):
        make(4, 4, terms)
