"""Rational functions of one number whose coefficients groups of channels share, and where they start.

    F(x) = P(x) / (1 + |Q(x)|),   P(x) = a_0 + a_1 x + ... + a_5 x^5,   Q(x) = b_1 x + ... + b_4 x^4

At Q = 0 the slope of |Q| is taken as 1, so that a function that starts with b = 0 can still learn b.

Source: "Kolmogorov-Arnold Transformer" (P485); the safe form of the denominator is that of Padé activation units.
"""

import math

import torch
from torch import Tensor

NUMERATOR, DENOMINATOR = 6, 4

STARTS = {
    "identity": ((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    "swish": (
        (0.0, 0.5, 0.24999805, 0.0532726, 0.00580588, 0.00027556),
        (0.0, 0.1065452, 0.0, 0.00055112),
    ),
    "gelu": (
        (0.0, 0.5, 0.40551922, 0.10416235, 0.0079453152, 0),
        (0.0, 0.2083247, 0.0, 0),
    ),
}
"""Coefficients (a, b) of known functions: least squares on [-3, 3] of x/2 and an even fraction, which both functions are."""


def rational(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """F of every channel, with the coefficients of its group.

    Shapes: x (..., groups · width), numerator (groups, 6), denominator (groups, 4) -> like x.
    """
    grouped = x.unflatten(-1, (len(numerator), -1))
    above, below = numerator.unsqueeze(-1).unbind(1), denominator.unsqueeze(-1).unbind(1)
    top = above[5]
    for coefficient in above[4::-1]:
        top = top * grouped + coefficient
    q = below[3]
    for coefficient in below[2::-1]:
        q = q * grouped + coefficient
    q = q * grouped
    return (top / (1 + torch.where(q < 0, -q, q))).flatten(-2)


def gain(start: str) -> float:
    """E[x²] / E[F(x)²] for normal x: the variance that weights need, times their number, to keep the variance."""
    numerator, denominator = (torch.tensor(part, dtype=torch.float64).unsqueeze(0) for part in STARTS[start])
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) * ((x[1] - x[0]) / math.sqrt(2 * math.pi))
    return 1 / (rational(x, numerator, denominator).square() * density).sum().item()
