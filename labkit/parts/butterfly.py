"""Butterfly products: log2(n) sparse factors, in each of which every number meets one other.

    y_i = keep_si x_i + mix_si x_{i XOR 2^s},        factor s = 0, 1, ..., log2(n) - 1, the next on the answer of the last

This is the product of butterfly factors with growing strides; a factor's 2 x 2 blocks [[a, b], [c, d]] are stored as
keep = a at the lower place, d at the higher; mix = b at the lower, c at the higher.

Source: Dao et al., "Learning Fast Algorithms for Linear Transforms Using Butterfly Factorizations" (2019).
"""

import torch
from torch import Tensor


def butterfly_product(x: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """The product with all factors, in turn. Shapes: x (..., n), factors (log2 n, 2, n), bias (n,) -> (..., n)."""
    for stride, (keep, mix) in enumerate(factors.unbind()):
        other = x.unflatten(-1, (-1, 2, 1 << stride)).flip(-2).flatten(-3)
        x = torch.addcmul(keep * x, mix, other)
    return x if bias is None else x + bias
