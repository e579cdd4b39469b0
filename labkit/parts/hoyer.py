"""Hoyer's sparseness of a set of responses: 0 where all are equal, 1 where a single one carries everything.

    H = (√n - ‖r‖₁ / ‖r‖₂) / (√n - 1)

over the n responses r_i. It depends on the same ratio as the measure of Treves and Rolls in `parts.sparseness`, S, and orders
responses alike: with E = ‖r‖₁ / (√n ‖r‖₂)

    H = (1 - E) / (1 - 1/√n),      S = (1 - E²) / (1 - 1/n) = H (1 + E) / (1 + 1/√n)

so S >= H: a number of one is not to be compared with a number of the other.

Source: Hoyer, "Non-negative matrix factorization with sparseness constraints" (2004).
"""

import torch
from torch import Tensor


def hoyer(responses: Tensor) -> Tensor:
    """H of each row; NaN where all responses are zero or there is one only. Shapes: (..., responses) -> (...)."""
    count = responses.shape[-1]
    if count < 2:
        return torch.full(responses.shape[:-1], torch.nan, dtype=responses.dtype)
    ratio = responses.abs().sum(-1) / torch.linalg.vector_norm(responses, dim=-1)  # 0 / 0 is NaN
    return ((count**0.5 - ratio) / (count**0.5 - 1)).clamp(0, 1)
