"""How sparse a set of responses is: 0 where all are equal, 1 where a single one carries everything.

    S = (1 - A) / (1 - 1/n),      A = (Σ |r_i| / n)² / (Σ r_i² / n)

over the n responses r_i. Along the inputs of one unit it is *lifetime* sparseness, along the units at one input
*population* sparseness. Rates of neurons are not negative; for units that can be, the modulus is taken.

Source: Vinje and Gallant, "Sparse coding and decorrelation in primary visual cortex during natural vision" (2000),
who rescale the measure A of Treves and Rolls, "What determines the capacity of autoassociative memories in the
brain?" (1991).
"""

import torch
from torch import Tensor


def sparseness(first: Tensor, second: Tensor, count: int) -> Tensor:
    """S from the sum of moduli and the sum of squares of `count` responses; NaN where all are zero or one is all.

    Shapes: first, second (...) -> (...), from 0 to 1.
    """
    if count < 2:
        return torch.full_like(first, torch.nan)
    evenness = first**2 / (count * second)  # 0 / 0 is NaN: a silent unit is neither sparse nor dense
    return ((1 - evenness) / (1 - 1 / count)).clamp(0, 1)
