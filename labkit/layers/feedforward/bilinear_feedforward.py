"""A feedforward layer without an activation function: two linear maps are multiplied unit by unit, and a third reads it.

    y = W ((L x) ∘ (R x)),      that is      y_a = Σ_ij B_aij x_i x_j      with      B_aij = Σ_k W_ak L_ki R_kj

Symbols: x an input of size in_width, y the output of size out_width, k one of `width` hidden units, L and R the two
maps into them, W the map out of them, ∘ the product unit by unit, B the third-order tensor that is the whole layer.

The product makes it nonlinear in x, yet it is linear in the pairs x_i x_j: `tensor()` writes the layer out, and each
output is a quadratic form whose eigenvectors say what it looks for (`labkit.parts.quadratic`). It is a gated linear
unit (GLU) whose gate has no squashing function.

With `bias=True`, L x + l and R x + r are multiplied and c is added behind W. Then the tensor is that of the input with a
1 appended, (x, 1): it holds quadratic, linear and constant terms, all but c.

Source: "A technical note on bilinear layers for interpretability" (P070). The layer is the one that Shazeer, "GLU Variants
Improve Transformer" (2020), calls Bilinear. That the gated variants have no biases follows these two.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.quadratic import Factors, forms_of, tensor_of
from labkit.parts.shapes import shaped


class BilinearFeedforward(nn.Module):
    """Two maps into the hidden units, multiplied, and one map out of them.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a width below 1.
    Source: "A technical note on bilinear layers for interpretability" (P070).
    """

    def __init__(self, in_width: int, out_width: int, *, width: int, bias: bool = False):
        super().__init__()
        if width < 1:
            raise ValueError(f"BilinearFeedforward needs one hidden unit or more, not {width}.")
        self.in_width, self.out_width = in_width, out_width
        self.left, self.right = nn.Linear(in_width, width, bias), nn.Linear(in_width, width, bias)
        self.out = nn.Linear(width, out_width, bias)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return self.out(self.left(x) * self.right(x))

    def factors(self) -> Factors:
        """The matrices of the tensor, detached; with biases these are a last column of L and R, for (x, 1)."""
        left, right = (_with_bias(layer) for layer in (self.left, self.right))
        return Factors(left, right, self.out.weight.detach())

    def tensor(self) -> Tensor:
        """B: the layer as one third-order tensor. Shapes: -> (out_width, in_width, in_width), one more with biases."""
        return tensor_of(self.factors())

    def forms(self) -> Tensor:
        """Q_a = (B_a + B_aᵀ) / 2 of every output. Shapes: as `tensor()`."""
        return forms_of(self.factors())

    def form(self, direction: Tensor) -> Tensor:
        """The quadratic form of one direction of the output, xᵀ Q x = direction · y (without the bias c).

        Shapes: direction (out_width,) -> (in_width, in_width), one more with biases.
        Raises: ValueError for a direction of another size.
        """
        if direction.shape != (self.out_width,):
            raise ValueError(
                f"a direction of the output has shape ({self.out_width},), but this one {tuple(direction.shape)}."
            )
        left, right, out = self.factors()
        return forms_of(Factors(left, right, (direction @ out).unsqueeze(0)))[0]


def _with_bias(layer: nn.Linear) -> Tensor:
    weight = layer.weight.detach()
    return weight if layer.bias is None else torch.cat([weight, layer.bias.detach().unsqueeze(1)], 1)


def slowly(layer: BilinearFeedforward, x: Tensor) -> Tensor:
    """Every pair of inputs through the tensor, with its gradients."""
    left, right = layer.left.weight, layer.right.weight
    if layer.left.bias is not None:
        left = torch.cat([left, layer.left.bias.unsqueeze(1)], 1)
        right = torch.cat([right, layer.right.bias.unsqueeze(1)], 1)
        x = F.pad(x, (0, 1), value=1.0)
    tensor = torch.einsum("ak,ki,kj->aij", layer.out.weight, left, right)
    y = torch.einsum("aij,ni,nj->na", tensor, x, x)
    return y if layer.out.bias is None else y + layer.out.bias


example = Example(lambda: BilinearFeedforward(6, 5, width=7, bias=True), reference=slowly)
