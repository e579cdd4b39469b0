"""Weight decay of what a factored layer does, not of its parts: the squared size of the whole product.

Ordinary weight decay of two factors pulls each of them to 0 and with that favours products of few directions. This loss
asks only how large the product is, as decay of the dense weight would, and leaves open how the factors share it.

    L = Σ over the factored layers of ‖D U‖²_F,      ‖D U‖²_F = tr(DᵀD · U Uᵀ)

Symbols: D (in, r) leads down, U (r, out) up again. The right form needs two r x r matrices and never the product. Where
D is block diagonal, the sum is over the blocks and the rows of U that belong to them.

Ordinary decay of the factors cannot do the same: ½ (‖D‖² + ‖U‖²) is at least the sum of the singular values of D U, and
equal to it where the factors are balanced, so that it shrinks weak directions until they are gone.

Source: Khodak et al., "Initialization and Regularization of Factorized Neural Layers" (2021), examined in "Exploring Low
Rank Training of Deep Neural Networks" (P071).
"""

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example


def frobenius_decay(model: nn.Module) -> Tensor:
    """The squared Frobenius norms of all factored weights of a model, added up.

    A factored layer is a module with parameters `down`, (in, rank) or (blocks, in / blocks, rank / blocks), and `up`,
    (rank, out).
    Raises: LabError when the model has no such layer.
    Source: Khodak et al. (2021), in "Exploring Low Rank Training of Deep Neural Networks" (P071).
    """
    products = [squared_norm(module.down, module.up) for module in model.modules() if factored(module)]
    if not products:
        raise LabError("frobenius_decay needs a model with factored layers, with weights `down` and `up`; it has none.")
    return torch.stack(products).sum()


def factored(module: nn.Module) -> bool:
    """Whether the module's weight is a product of two that are called down and up."""
    down, up = getattr(module, "down", None), getattr(module, "up", None)
    return isinstance(down, Tensor) and isinstance(up, Tensor) and up.ndim == 2 and down.ndim in (2, 3)


def squared_norm(down: Tensor, up: Tensor) -> Tensor:
    """‖D U‖²_F from Gram matrices. Shapes: down (in, r) or (blocks, in / blocks, r / blocks), up (r, out) -> ()."""
    up = up if down.ndim == 2 else up.unflatten(0, (len(down), -1))
    return ((down.mT @ down) * (up @ up.mT)).sum()


class Factors(nn.Module):
    """Only the two factors of a weight of 5 x 4."""

    def __init__(self, rank: int):
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(5, rank)), nn.Parameter(torch.randn(rank, 4))


def two_layers(seed: int) -> tuple[nn.Module]:
    """A model of two factored weights and a dense one, which does not count."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (nn.Sequential(Factors(2), nn.Linear(4, 4), Factors(3)),)


example = Example(lambda: frobenius_decay, inputs=two_layers)
