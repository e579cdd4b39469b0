"""Weights on a few levels: each is rounded to the nearest one, the same levels for all weights of an output channel.

    ŵ_ji = s_j clip(round(w_ji / s_j), -(2^(b-1) - 1), 2^(b-1) - 1),      s_j = max_i |w_ji| / (2^(b-1) - 1)

Symbols: w a weight, j the output channel that it feeds, i the input, b the bits of a weight, s_j the step between levels.

Source: as in "Mixture of Quantized Experts (MoQE): Complementary Effect of Low-bit Quantization and Robustness" (P149).
"""

import torch
from torch import Tensor

FULL = 16
"""Bits of a weight that is not quantised: half precision."""


def rounded(weight: Tensor, bits: int, channel: int = -2) -> Tensor:
    """The nearest level of each weight. Shapes: weight (..., rows, columns) -> the same; `channel` is the outputs' axis."""
    most = 2 ** (bits - 1) - 1
    step = weight.abs().amax(-1 if channel == -2 else -2, keepdim=True) / most
    step = torch.where(step > 0, step, torch.ones_like(step))
    return (weight / step).round().clamp(-most, most) * step
