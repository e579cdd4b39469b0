"""Trains low-rank weights whose singular values may differ by a stated factor at most, which should make attacks harder.

A small change of an input is turned by a badly conditioned layer into a large change along some directions and into nothing
along others. Each weight is kept as W = U S Vᵀ with orthonormal bases. After every step the singular values of the small core S
are clipped into a band around their scale, so that the largest is at most 1 + τ times the smallest:

    U ← basis of U - η (I - UUᵀ) (∂L/∂U) / s²,      V ← basis of V - η (I - VVᵀ) (∂L/∂V) / s²,      S ← S - η ∂L/∂S
    S = P diag(σ) Qᵀ,   σ ← clip(σ, s (1 - h), s (1 + h)),   h = τ / (2 + τ)          then cond(W) <= 1 + τ

Symbols: η the learning rate, τ the tolerance, s² the mean square of the singular values σ. The step of the bases is the
projected gradient flow on weights of this rank, in which the slope is divided by S Sᵀ: for a well-conditioned core that is about
s² I, so the division is safe. The condition number of the network is at most the product of those of its layers.

With τ = 0 all singular values are equal: U S Vᵀ is s times a matrix with orthonormal columns on both sides. With
`tolerance=None` nothing is clipped, for comparison.

Source: "Robust low-rank training via approximate orthonormal constraints" (P309). Reconstructed from the abstract and from
the authors' published code. There, the tolerance is written as the bound 1 + τ; for τ = 0 the core becomes s times the basis of
its QR; and for τ > 0 the band lies around the mean of the singular values, and the slopes of the bases are scaled by the square
of the smallest over the largest singular value instead of by 1/s². Here one rule serves all. (With the mean, weights could
hardly grow in a trial.) Parameters outside such layers take an ordinary step.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.orthonormal import ThreeFactors, orthonormalised


@dataclass
class ConditionClipping:
    """Gradient descent on low-rank weights whose condition number is held at 1 + tolerance.

    Raises: ValueError for a learning rate that is not positive or a tolerance below 0.
    Source: "Robust low-rank training via approximate orthonormal constraints" (P309).
    """

    learning_rate: float = 0.1
    tolerance: float | None = 0.1
    loss: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate of ConditionClipping is above 0, not {self.learning_rate:g}.")
        if self.tolerance is not None and self.tolerance < 0:
            raise ValueError(f"the tolerance of ConditionClipping is 0 or more, not {self.tolerance:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss = task.loss
        for layer in model.modules():
            if isinstance(layer, ThreeFactors):
                self._clip(layer)

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        model.train()
        model.zero_grad(set_to_none=True)
        loss = self.loss(model(x), target)
        loss.backward()
        layers = [part for part in model.modules() if isinstance(part, ThreeFactors)]
        bases = {id(basis) for layer in layers for basis in (layer.left, layer.right)}
        with torch.no_grad():
            turned = [self._turned(layer) for layer in layers]
            for parameter in model.parameters():
                if parameter.grad is not None and id(parameter) not in bases:
                    parameter -= self.learning_rate * parameter.grad
            for layer, (left, right) in zip(layers, turned, strict=True):
                layer.put(left, layer.core, right)
                self._clip(layer)
        model.zero_grad(set_to_none=True)
        return {"training_loss": loss.item()}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    def clipped(self, values: Tensor) -> Tensor:
        """What becomes of the singular values after a step. Shapes: values (rank,) -> the same."""
        if self.tolerance is None:
            return values
        half, scale = self.tolerance / (2 + self.tolerance), values.square().mean().sqrt()
        return values.clamp(scale * (1 - half), scale * (1 + half))

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside the model: it has no memory, only its two numbers."""
        return {"learning_rate": self.learning_rate, "tolerance": self.tolerance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learning_rate, self.tolerance = state["learning_rate"], state["tolerance"]

    def _turned(self, layer: ThreeFactors) -> list[Tensor]:
        """Both bases after a step along their own directions of turning."""
        square = layer.core.square().sum() / layer.rank
        found = []
        for basis in (layer.left, layer.right):
            if basis.grad is None:
                found.append(basis.detach())
                continue
            slope = basis.grad - basis @ (basis.T @ basis.grad)
            found.append(orthonormalised(basis - self.learning_rate / square * slope))
        return found

    @torch.no_grad()
    def _clip(self, layer: ThreeFactors) -> None:
        out, values, into = torch.linalg.svd(layer.core)
        layer.put(layer.left, out * self.clipped(values) @ into, layer.right)


def network(seed: int) -> tuple[nn.Module]:
    """Two low-rank layers, from 8 numbers to 3 scores."""
    torch.manual_seed(seed)
    return (nn.Sequential(ThreeFactors(8, 24, rank=4), nn.ReLU(), ThreeFactors(24, 3, rank=2)),)


example = Example(lambda: ConditionClipping(learning_rate=0.1, tolerance=0.1), inputs=network)
