"""A linear layer in three factors, two orthonormal bases and a small core between them; its rank may change in training.

Two thin factors can store one product in many ways, and some of them are bad: one factor large, the other small, or nearly
parallel columns. With orthonormal bases this cannot happen. All the sizes are in the small core, whose singular values are
those of the whole weight, so a direction that does nothing can be seen there and left out.

    y = U S Vᵀ x + b,      UᵀU = VᵀV = I

Symbols: V (in, rank) reads the input along `rank` directions, S (rank, rank) mixes them, U (out, rank) writes them; b the
bias. It starts with random bases and with singular values that fall by a factor of `decay` from one to the next (1: all equal).

Nothing in the layer keeps the bases orthonormal: that is the trainer's work (`labkit.trainers.low_rank`). An ordinary
optimizer trains it as any product of three matrices, and the bases drift.

The rank is the size of the parameters, not a number beside them: when it changes, the same parameters get new values of
another shape, up to the rank `most`. The alternative, parameters of the full size of which a part is used, would count,
save and multiply what is not there.

Source: "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations" (P319). The
start is ours: in the authors' code the singular values are random.
"""

from jaxtyping import Float
from torch import Tensor

from labkit.example import Example
from labkit.parts.orthonormal import ThreeFactors
from labkit.parts.shapes import shaped


class ThreeFactorLinear(ThreeFactors):
    """A linear layer U S Vᵀ with orthonormal U and V.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a rank below 1 or above `most`, a `most` that
    the widths do not allow is lowered to the smaller width; ValueError for a decay below 1.
    Source: "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations" (P319).
    """

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return super().forward(x)


def slowly(layer: ThreeFactorLinear, x: Tensor) -> Tensor:
    """The dense weight, written out direction by direction."""
    weight = sum(
        layer.core[i, j] * layer.left[:, i].outer(layer.right[:, j])
        for i in range(layer.rank)
        for j in range(layer.rank)
    )
    return x @ weight.T + layer.bias


example = Example(lambda: ThreeFactorLinear(7, 5, rank=2), reference=slowly)
