"""Families of functions of one number, at home on [-1, 1]: a curve is a weighted sum of one family's terms.

    φ(x) = Σ_t c_t b_t(x),      t = 0 ... T-1

    spline      b_t a cubic B-spline; T - 3 cells between -1 and 1, and 0 further out than three cells beyond
    radial      b_t(x) = exp(-((x - m_t) / h)²),      m_t even from -1 to 1, h their distance
    chebyshev   b_t(x) = T_t(tanh x),      T_0 = 1, T_1(z) = z, T_t(z) = 2 z T_{t-1}(z) - T_{t-2}(z)
    fourier     1, sin πx, cos πx, sin 2πx, cos 2πx, ...
    wavelet     1, then ψ((x - m) / s):  one as wide as the interval (s = 1), two half as wide, four a quarter, ...
                ψ(u) = 2 / (√3 π^¼) (1 - u²) exp(-u²/2),  the "Mexican hat"

Inside the interval splines and polynomials can say any constant and bumps nearly can; the others have the term 1 for it.

Source: the pool of "Activation Space Selectable Kolmogorov-Arnold Networks" (P187), as summaries name it. The members in
their usual forms: B-splines as in "KAN: Kolmogorov-Arnold Networks" (Liu et al., 2024), bumps as in "Kolmogorov-Arnold
Networks are Radial Basis Function Networks" (Li, 2024), polynomials of a tanh as in "Chebyshev Polynomial-Based
Kolmogorov-Arnold Networks" (Sidharth et al., 2024), the hat of "Wav-KAN" (Bozorgasl and Chen, 2024), which learns the
widths and places that are fixed here.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from labkit.parts.splines import basis, even_knots

ORDER = 3
HAT = 2 / (math.sqrt(3) * math.pi**0.25)


def spline(x: Tensor, terms: int) -> Tensor:
    """Cubic B-splines. Shapes: (...) -> (..., terms)."""
    grid = even_knots(-1.0, 1.0, terms - ORDER, ORDER, 1).to(x)
    return basis(x.unsqueeze(-1), grid, ORDER).squeeze(-2)


def radial(x: Tensor, terms: int) -> Tensor:
    """Gaussian bumps. Shapes: (...) -> (..., terms)."""
    middle = torch.linspace(-1, 1, terms, dtype=x.dtype, device=x.device)
    return torch.exp(-(((x.unsqueeze(-1) - middle) * ((terms - 1) / 2)) ** 2))


def chebyshev(x: Tensor, terms: int) -> Tensor:
    """Chebyshev polynomials of the tanh. Shapes: (...) -> (..., terms)."""
    z = torch.tanh(x)
    found = [torch.ones_like(z), z]
    while len(found) < terms:
        found.append(2 * z * found[-1] - found[-2])
    return torch.stack(found[:terms], -1)


def fourier(x: Tensor, terms: int) -> Tensor:
    """A constant, then sine and cosine of whole multiples of πx in turn. Shapes: (...) -> (..., terms)."""
    turns = [(place + 1) // 2 * math.pi for place in range(terms)]
    shift = [0.0 if place % 2 else math.pi / 2 for place in range(terms)]  # a cosine is a sine a quarter turn early
    return torch.sin(x.unsqueeze(-1) * x.new_tensor(turns) + x.new_tensor(shift))


def wavelet(x: Tensor, terms: int) -> Tensor:
    """A constant, then Mexican hats, each level with twice as many at half the width. Shapes: (...) -> (..., terms)."""
    places = [wavelet_place(term) for term in range(1, terms)]
    middle, scale = (x.new_tensor([place[part] for place in places]) for part in (0, 1))
    squared = ((x.unsqueeze(-1) - middle) / scale) ** 2
    hats = HAT * (1 - squared) * torch.exp(-squared / 2)
    return torch.cat((torch.ones_like(x).unsqueeze(-1), hats), -1)


def wavelet_place(term: int) -> tuple[float, float]:
    """Middle and scale of the wavelet that is term 1, 2, ... of its family."""
    level = term.bit_length() - 1
    scale = 0.5**level
    return -1 + scale * (2 * (term - 2**level) + 1), scale


BASES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "spline": spline,
    "radial": radial,
    "chebyshev": chebyshev,
    "fourier": fourier,
    "wavelet": wavelet,
}
"""Name -> the function (x (...), terms) -> (..., terms)."""
FEWEST = ORDER + 1
"""A spline family of fewer terms would have no cell."""


def all_terms(x: Tensor, names: tuple[str, ...], terms: int) -> Tensor:
    """The terms of several families side by side. Shapes: (...) -> (..., families, terms)."""
    return torch.stack([BASES[name](x, terms) for name in names], -2)
