"""A weight as U S Vᵀ with orthonormal bases: how bases grow and turn, when a direction is dropped, how well S is conditioned.

    W = U S Vᵀ,      UᵀU = VᵀV = I

Symbols: W (out, in) the weight; U (out, rank) and V (in, rank) the bases; S (rank, rank) the core. The singular values of
S are those of W that are not zero, so a small matrix tells everything about the size of a large one.

Source: "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations" (P319);
the condition number as in "Robust low-rank training via approximate orthonormal constraints" (P309).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ThreeFactors(nn.Module):
    """A linear map through three factors whose rank may change between steps. (..., in_width) -> (..., out_width).

    Trainers find their layers by this type. A change of rank puts new values of another shape into the same parameters:
    the number of parameters, the state and the time are then those of the rank in use. An optimizer with a memory of the
    old shape would not fit, so whoever changes the rank must also take the steps.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        *,
        rank: int,
        most: int | None = None,
        bias: bool = True,
        decay: float = 1.0,
    ):
        super().__init__()
        limit = min(in_width, out_width)
        most = min(limit, most or limit)
        if not 1 <= rank <= most:
            raise ValueError(
                f"a weight of {in_width} x {out_width} with rank {most} at most cannot start with rank {rank}."
            )
        if decay < 1:
            raise ValueError(
                f"singular values that fall are divided by 1 or more from one to the next, not by {decay:g}."
            )
        self.in_width, self.out_width, self.most = in_width, out_width, most
        # About the largest singular value of torch's own dense layer, whose weights have variance 1 / (3 in_width).
        edge = (1 + math.sqrt(out_width / in_width)) / math.sqrt(3)
        self.left = nn.Parameter(orthonormalised(torch.randn(out_width, rank)).contiguous())
        self.core = nn.Parameter(torch.diag(edge / decay ** torch.arange(rank)))
        self.right = nn.Parameter(orthonormalised(torch.randn(in_width, rank)).contiguous())
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None

    @property
    def rank(self) -> int:
        return self.core.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x @ self.right @ self.core.T, self.left, self.bias)

    @torch.no_grad()
    def put(self, left: Tensor, core: Tensor, right: Tensor) -> None:
        """Give the factors new values, of another rank if need be. Gradients of the old ones are dropped.

        Shapes: left (out_width, rank), core (rank, rank), right (in_width, rank).
        """
        for parameter, value in ((self.left, left), (self.core, core), (self.right, right)):
            parameter.grad = None
            parameter.data = value.detach().contiguous()

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        """A state of another rank is taken over with its rank."""
        names = [prefix + name for name in ("left", "core", "right")]
        if all(name in state_dict for name in names):
            left, core, right = (state_dict[name] for name in names)
            rank = core.shape[-1]
            fits = left.shape == (self.out_width, rank) and right.shape == (self.in_width, rank)
            if fits and core.shape == (rank, rank) and rank <= self.most and rank != self.rank:
                self.put(*(value.to(self.core).clone() for value in (left, core, right)))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def extra_repr(self) -> str:
        return f"in_width={self.in_width}, out_width={self.out_width}, rank={self.rank}, most={self.most}"


def orthonormalised(columns: Tensor) -> Tensor:
    """An orthonormal basis of what the columns span, turned as little as possible: the R of its QR has no sign to choose.

    Shapes: columns (width, rank) with rank <= width -> the same.
    """
    basis, triangle = torch.linalg.qr(columns)
    sign = torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(basis.dtype)
    return basis * sign


def widened(basis: Tensor, columns: Tensor) -> Tensor:
    """An orthonormal basis of a basis and further columns together.

    Shapes: basis (width, rank), columns (width, more) -> (width, rank + more), or (width, width) where that is less.
    """
    return torch.linalg.qr(torch.cat((basis, columns), 1))[0]


def kept(values: Tensor, threshold: float) -> int:
    """How many singular values remain when the smallest are dropped whose norm is at most `threshold` of the norm of all.

    Shapes: values (count,), largest first, none negative. At least one remains.
    """
    # The norm of the tail from each place on, summed from the small end, where rounding does least harm.
    tails = values.double().square().flip(0).cumsum(0).flip(0).sqrt()
    return max(1, int((tails > threshold * tails[0]).sum()))


def condition(weight: Tensor) -> float:
    """The largest singular value over the smallest: how much more some directions are stretched than others.

    Shapes: weight (rows, columns). A weight that flattens a direction entirely has an infinite condition number.
    """
    values = torch.linalg.svdvals(weight.detach().double())
    return float(values[0] / values[-1]) if values[-1] > 0 else math.inf
