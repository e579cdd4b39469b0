"""Products with matrices made of blocks: block diagonal, block sparse, and the Monarch form.

    block diagonal   y_k = x_k W_k + b_k                          block k of the outputs from block k of the inputs
    block sparse     y_k = Σ_m x_{source(k, m)} W_km + b_k        from a few blocks, the same number for every k
    Monarch          h = x W block diagonal,  y_sl = Σ_r h_rl V_srl + b_sl       h_rl is h[r L + l], y_sl is y[s L + l]

The second factor of the Monarch form is block diagonal after a shuffle of h that lays numbers L apart side by side,
where L is its number of blocks, and its outputs are shuffled back. It is stored as V (out, in, L): for each pair of
places in a block the numbers of all L blocks, which makes the shuffles a matter of addresses.

Source: Monarch form: Dao et al., "Monarch: Expressive Structured Matrices for Efficient and Accurate Training" (2022).
It is the BlockShuffle of "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward
Layers" (P126). Block sparse with the flat butterfly pattern: "Pixelated Butterfly: Simple and Efficient Sparse training
for Neural Network Models" (P010).
"""

import torch
from torch import Tensor


def block_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A block-diagonal product. Shapes: x (..., k p), weight (k, p, q), bias (k q,) -> (..., k q)."""
    count, depth, width = weight.shape
    rows = x.reshape(-1, count, depth).transpose(0, 1)
    out = torch.bmm(rows, weight).transpose(0, 1).reshape(*x.shape[:-1], count * width)
    return out if bias is None else out + bias


def sparse_product(x: Tensor, weight: Tensor, sources: Tensor, bias: Tensor | None) -> Tensor:
    """A block-sparse product, each block of outputs from the blocks of inputs that `sources` (k, m) names.

    Shapes: x (..., blocks p), weight (k, m, p, q), bias (k q,) -> (..., k q).
    """
    count, terms, depth, width = weight.shape
    met = x.unflatten(-1, (-1, depth))[..., sources, :].flatten(-3)
    return block_product(met, weight.reshape(count, terms * depth, width), bias)


def shuffled_product(x: Tensor, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    """The Monarch form: block diagonal, shuffle, block diagonal, shuffle back.

    Shapes: x (..., k p), first (k, p, q), second (s, r, l) with r l = k q, bias (s l,) -> (..., s l).
    """
    width, depth, across = second.shape
    between = block_product(x, first, None).reshape(-1, depth, across)
    out = torch.bmm(between.permute(2, 0, 1), second.permute(2, 1, 0)).permute(1, 2, 0)
    out = out.reshape(*x.shape[:-1], width * across)
    return out if bias is None else out + bias


def flat_butterfly(in_blocks: int, out_blocks: int, factors: int) -> tuple[tuple[int, ...], ...]:
    """Which blocks of inputs each block of outputs meets in a flat butterfly: its own, and those of the first factors.

    Block k meets k and k XOR 2^m for m < factors. Where one side has more blocks than the other the pattern of the smaller
    side is stretched. Both numbers are powers of two; `factors` is at most the logarithm of the smaller.
    """
    small = min(in_blocks, out_blocks)
    if in_blocks < 1 or out_blocks < 1 or in_blocks & (in_blocks - 1) or out_blocks & (out_blocks - 1):
        raise ValueError(f"a flat butterfly has powers of two of blocks, not {in_blocks} and {out_blocks}.")
    if not 0 <= factors < small.bit_length():
        raise ValueError(
            f"a flat butterfly of {small} blocks has 0 to {small.bit_length() - 1} factors, not {factors}."
        )
    wide = in_blocks // small
    pattern = []
    for block in range(out_blocks):
        own = block * small // out_blocks
        met = [own] + [own ^ (1 << factor) for factor in range(factors)]
        pattern.append(tuple(one * wide + part for one in met for part in range(wide)))
    return tuple(pattern)
