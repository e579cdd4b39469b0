"""Quadratic forms: a layer whose every output is a sum over pairs of inputs, and the directions that it is made of.

    y_a = Σ_ij B_aij x_i x_j = xᵀ Q_a x,      Q_a = (B_a + B_aᵀ) / 2 = Σ_m λ_m v_m v_mᵀ

Only the symmetric part of B_a counts, because x_i x_j = x_j x_i. Its eigenvectors v_m are orthonormal, so an output is
a weighted sum of squares, y_a = Σ_m λ_m (v_m · x)²: along v_m the output grows where λ_m > 0 and falls where λ_m < 0.

Symbols: x an input, a an output, i and j inputs, m a direction.

Where B_aij = Σ_k W_ak L_ki R_kj comes from `width` hidden units, Q_a has at most 2 width directions, and they are found
in that small space: with [Lᵀ Rᵀ] = U T (U orthonormal), Q_a = U (T S_a Tᵀ) Uᵀ.

Source: the decomposition is that of Pearce, Dooms, Rigg, Oramas and Sharkey, "Bilinear MLPs enable weight-based
mechanistic interpretability" (2025), of the layer of "A technical note on bilinear layers for interpretability" (P070).
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Factors(NamedTuple):
    """The three matrices of B_aij = Σ_k W_ak L_ki R_kj; with biases, inputs and the two carry a last column for the 1.

    Shapes: left, right (width, inputs), out (outputs, width).
    """

    left: Tensor
    right: Tensor
    out: Tensor


@runtime_checkable
class Quadratic(Protocol):
    """A layer that is a quadratic form of its input, and says of which matrices."""

    def factors(self) -> Factors: ...


def tensor_of(factors: Factors) -> Tensor:
    """B, written out: B_aij = Σ_k W_ak L_ki R_kj. Shapes: -> (outputs, inputs, inputs)."""
    return torch.einsum("ak,ki,kj->aij", factors.out, factors.left, factors.right)


def forms_of(factors: Factors) -> Tensor:
    """Q, the symmetric part of B for every output. Shapes: -> (outputs, inputs, inputs)."""
    tensor = tensor_of(factors)
    return (tensor + tensor.transpose(-1, -2)) / 2


def directions_of(factors: Factors) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of every Q_a, those of largest modulus first; at most 2 width of them.

    The sign of an eigenvector means nothing (it is squared); the entry of largest modulus is made positive.

    Shapes: -> values (outputs, directions), vectors (outputs, directions, inputs).
    """
    width = factors.left.shape[0]
    basis, mixed = torch.linalg.qr(torch.cat([factors.left, factors.right]).T)
    halves = torch.einsum("iw,aw,jw->aij", mixed[:, :width], factors.out, mixed[:, width:])
    values, small = torch.linalg.eigh((halves + halves.transpose(-1, -2)) / 2)
    order = values.abs().argsort(dim=-1, descending=True)
    values = values.gather(-1, order)
    small = small.gather(-1, order.unsqueeze(-2).expand_as(small))
    vectors = (basis @ small).transpose(-1, -2)
    largest = vectors.gather(-1, vectors.abs().argmax(-1, keepdim=True))
    return values, vectors * torch.where(largest < 0, -1.0, 1.0).to(vectors)


def weighted_squares(x: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """Σ_m λ_m (v_m · x)² for every output. Shapes: x (rows, inputs), as `directions_of` -> (rows, outputs)."""
    along = torch.einsum("ni,ami->nam", x, vectors)
    return (along.square() * values).sum(-1)
