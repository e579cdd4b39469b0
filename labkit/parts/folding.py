"""Maps of the form W x + b, and what may be done to them once they no longer learn: one after another is one, a sum is one.

    (W₂, b₂) after (W₁, b₁)   = (W₂ W₁, W₂ b₁ + b₂)
    (W₁, b₁) beside (W₂, b₂)  = (W₁ + W₂, b₁ + b₂)
    batch norm in evaluation  = (diag(s), β - s μ),        s = γ / √(σ² + ε)
    a residual connection     = (I, 0)

Symbols: W (out, in) and b (out) of a map; μ, σ² the running mean and variance of a batch norm, γ, β what it learnt,
ε its small constant.

All of it is computed in double precision and rounded once, at the end: what is left of an error is the rounding of the
folded weights and of the shorter sum.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Affine(NamedTuple):
    """x -> weight @ x + bias. Shapes: weight (out, in), bias (out); float64."""

    weight: Tensor
    bias: Tensor

    def after(self, first: "Affine") -> "Affine":
        """This map of what `first` says. Raises: ValueError where `first` says another width than this one reads."""
        if self.weight.shape[1] != first.weight.shape[0]:
            raise ValueError(
                f"a map of weight {tuple(self.weight.shape)} cannot read what one of weight "
                f"{tuple(first.weight.shape)} says."
            )
        return Affine(self.weight @ first.weight, self.weight @ first.bias + self.bias)

    def beside(self, other: "Affine") -> "Affine":
        """The sum of both. Raises: ValueError where they have other shapes."""
        if self.weight.shape != other.weight.shape:
            raise ValueError(
                f"maps of weights {tuple(self.weight.shape)} and {tuple(other.weight.shape)} cannot be added."
            )
        return Affine(self.weight + other.weight, self.bias + other.bias)

    def saying(self, units: slice) -> "Affine":
        """Only these of what it says."""
        return Affine(self.weight[units], self.bias[units])

    def reading(self, units: slice) -> "Affine":
        """Only these of what it reads; the bias stays whole."""
        return Affine(self.weight[:, units], self.bias)


def of_linear(linear: nn.Linear) -> Affine:
    """What a linear layer does."""
    weight = linear.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().double()
    return Affine(weight, bias)


def of_norm(norm: nn.BatchNorm1d) -> Affine:
    """What a batch norm does in evaluation. Raises: ValueError where it keeps no running statistics: then it is no map."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics depends on its batch, so it cannot be folded.")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -scale * norm.running_mean.double()
    return Affine(scale.diag(), shift if norm.bias is None else shift + norm.bias.detach().double())


def identity(width: int, like: Tensor) -> Affine:
    """What a residual connection does."""
    eye = torch.eye(width, dtype=torch.float64, device=like.device)
    return Affine(eye, eye.new_zeros(width))


def linear(affine: Affine, like: Tensor, *, bias: bool = True) -> nn.Linear:
    """The map as a layer, in the type and on the device of `like`; without `bias` its bias is left out."""
    out_width, in_width = affine.weight.shape
    layer = nn.Linear(in_width, out_width, bias=bias, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        layer.weight.copy_(affine.weight)
        if bias:
            layer.bias.copy_(affine.bias)
    return layer


class ChannelNorm(nn.BatchNorm1d):
    """Batch norm of the last axis, over all rows whatever their axes. (*batch, channels) -> the same.

    In training the mean and variance are those of the batch, in evaluation the running ones, so that it is a fixed map
    then and folds into a linear layer beside it. Fewer than two rows have no variance: they are normalised by the
    running numbers in training, too, which then stay as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.num_features)
        if self.training and len(rows) < 2:
            said = F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        else:
            said = super().forward(rows)
        return said.reshape(input.shape)
