"""Over how many directions numbers spread: the eigenvalues of their covariance, and what is read off them.

With λ_1 ≥ λ_2 ≥ ... the eigenvalues, p_k = λ_k / Σ λ their shares and D the number of units:

    soft rank      exp(-Σ p_k ln p_k)                  the effective rank; every direction counts, weak ones too
    hard rank      (Σ λ)² / Σ λ²                       the participation ratio; strong directions count
    concentration  (2/D) Σ_k (p_1 + ... + p_k - k/D)   twice the area between the cumulated shares and the diagonal

Both ranks are D where all directions are equally strong and 1 where there is only one; the concentration is then 0 and
1 - 1/D.

A rank that grows as a power of the width, e^a D^b, is a straight line with slope b between logarithms.

Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007), of the covariance matrix;
the participation ratio as in Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017).
"""

import numpy as np
import torch
from torch import Tensor

CELLS = 2**22
"""How many numbers are looked at in one go: 32 MiB in float64."""


def variances(values: Tensor) -> np.ndarray:
    """The eigenvalues of the covariance times the rows, descending, from the smaller of the two Gram matrices.

    Shapes: values (rows, units) -> (min(rows - 1, units),), at least one. Rounding errors count as 0.
    """
    count, units = values.shape
    pieces = values.split(max(1, CELLS // max(1, units)))
    mean = sum((part.double().sum(0).cpu() for part in pieces), torch.zeros(units, dtype=torch.float64)) / max(1, count)
    if count <= units:
        centred = values.double().cpu() - mean
        gram = centred @ centred.T
    else:
        gram = torch.zeros(units, units, dtype=torch.float64)
        for part in pieces:
            centred = part.double().cpu() - mean
            gram.addmm_(centred.T, centred)
    powers = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).numpy()
    floor = powers.max(initial=0) * max(count, units) * np.finfo(np.float64).eps
    powers = np.where(powers > floor, powers, 0)
    return powers[: max(1, min(count - 1, units))]


def soft_rank(powers: np.ndarray) -> float:
    """exp of the entropy of the shares; NaN where there is no variance. Shapes: powers (directions,)."""
    total = powers.sum()
    if not total > 0:
        return float("nan")
    share = powers[powers > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def hard_rank(powers: np.ndarray) -> float:
    """The participation ratio; NaN where there is no variance. Shapes: powers (directions,)."""
    total = powers.sum()
    return float(total**2 / (powers**2).sum()) if total > 0 else float("nan")


def concentration(powers: np.ndarray, units: int) -> float:
    """How much earlier the shares add up than if all were equal; NaN where there is no variance.

    Shapes: powers (directions,), descending; directions beyond them, up to `units`, have none.
    """
    total = powers.sum()
    if not total > 0:
        return float("nan")
    reached = np.ones(units)
    reached[: len(powers)] = np.cumsum(powers) / total
    return float(2 * (reached - np.arange(1, units + 1) / units).mean())


def power_law(widths: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and R² of log rank = a + b log width, by least squares. Shapes: widths (n,), ranks (..., n) -> each (...)."""
    x, y = np.log(widths), np.log(ranks)
    across, up = x - x.mean(), y - y.mean(-1, keepdims=True)
    slope = (up * across).sum(-1) / (across**2).sum()
    rest = up - slope[..., None] * across
    return y.mean(-1) - slope * x.mean(), slope, 1 - (rest**2).sum(-1) / (up**2).sum(-1)
