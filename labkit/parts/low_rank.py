"""Low-rank products: a matrix as the product of a tall and a wide one, and two such factors of a given matrix.

    y = (x D) U + b,        D (in, rank),  U (rank, out)

Weights are stored from input to output, so `x @ down @ up` is the whole product.

Source: Eckart and Young, "The approximation of one matrix by another of lower rank" (1936); as layers trained from the
start in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers" (P126).
"""

import torch
from torch import Tensor


def low_rank_product(x: Tensor, down: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    """x down up + bias. Shapes: x (..., in), down (in, rank), up (rank, out), bias (out,) -> (..., out)."""
    between = x @ down
    if bias is None:
        return between @ up
    if x.ndim == 2:
        return torch.addmm(bias, between, up)
    return between @ up + bias


def nearest_low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors whose product is nearest to a weight, each with the roots of the singular values.

    Shapes: weight (in, out) -> (in, rank), (rank, out). The rank may not exceed the smaller side.
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def orthonormal_low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The same directions with all strengths equal: the first `rank` singular values of a weight are set to one.

    Both factors are orthonormal, so their product stretches `rank` directions by 1 and all others by 0.

    Shapes: weight (in, out) -> (in, rank), (rank, out). The rank may not exceed the smaller side.
    """
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    return left[:, :rank], right[:rank]
