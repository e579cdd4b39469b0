"""Trains low-rank weights without ever forming them, and finds out while it trains how high their ranks must be.

Each such weight is kept as W = U S Vᵀ with orthonormal bases U and V and a small core S. A step of gradient descent on the
three factors would depend on how the product is split, and would be spoilt by small singular values: the slopes of U and V
are then small, and undoing that divides by S. Instead a step moves one side at a time, with the sizes moved along:

    K step   K = U S,    K ← K - η ∂L/∂K,     with V as it is            (the left basis may turn)
    L step   L = V Sᵀ,   L ← L - η ∂L/∂L,     with U as it is            (the right basis may turn)
    bases    Û = basis of [U, K],   V̂ = basis of [V, L]                  (old and new directions, up to twice as many)
    S step   Ŝ = Ûᵀ U S Vᵀ V̂,   Ŝ ← Ŝ - η ∂L/∂Ŝ                          (the same weight in the new bases, then a step)
    cut      Ŝ = P diag(σ) Qᵀ,   the smallest σ are dropped while the norm of what is dropped is at most ϑ ‖σ‖

Then U = Û P, S = diag(σ), V = V̂ Q with the directions that are left. So a rank can double in one step, and shrinks as soon
as directions no longer count. Nothing is divided by a singular value. With `threshold=None` the rank is fixed: the bases
are those of K and L alone, and nothing is cut.

Symbols: η the learning rate, ϑ the threshold, L also the loss where it stands under ∂. Parameters outside such layers,
and biases, take an ordinary step together with the S step; a network without such layers is trained by plain gradient
descent, and a layer whose `left` does not learn keeps its bases.

Source: "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations" (P319), the
rank-adaptive and the fixed-rank scheme with one gradient step for each of K, L and S. Confirmed against the authors' code,
which also keeps at least 2 directions; that code bounds the new rank by the old one unless something is cut, here only the
layer's own `most` bounds it. The name of the field: the unconventional, or basis update and Galerkin, integrator.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.orthonormal import ThreeFactors, kept, orthonormalised, widened

LEAST = 2
"""The lowest rank that a layer is cut to."""


@dataclass
class DynamicalLowRank:
    """Gradient descent on the bases and the core of low-rank weights in turn, with ranks that adapt to a threshold.

    A step goes through the network three times. The training loss that it reports is that of the first.
    Raises: ValueError for a learning rate that is not positive or a threshold that is not between 0 and 1.
    Source: "Low-rank lottery tickets: finding efficient low-rank neural networks via matrix differential equations" (P319).
    """

    learning_rate: float = 0.1
    threshold: float | None = 0.1
    loss: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate of DynamicalLowRank is above 0, not {self.learning_rate:g}.")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ValueError(f"the threshold of DynamicalLowRank is a share from 0 to below 1, not {self.threshold:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss = task.loss

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        model.train()
        layers = [part for part in model.modules() if isinstance(part, ThreeFactors) and part.left.requires_grad]
        old = [(layer.left.detach(), layer.core.detach(), layer.right.detach()) for layer in layers]
        training_loss = None
        if layers:
            for layer, (left, core, right) in zip(layers, old, strict=True):
                layer.put(left @ core, torch.eye(len(core)).to(core), right)
            training_loss = self._slopes(model, batch)
            outs = [self._moved(layer.left) for layer in layers]
            for layer, (left, core, right) in zip(layers, old, strict=True):
                layer.put(left, torch.eye(len(core)).to(core), right @ core.T)
            self._slopes(model, batch)
            ins = [self._moved(layer.right) for layer in layers]
            for layer, (left, core, right), into, out in zip(layers, old, ins, outs, strict=True):
                new_left, new_right = self._basis(left, out), self._basis(right, into)
                layer.put(new_left, new_left.T @ left @ core @ (right.T @ new_right), new_right)
        loss = self._slopes(model, batch)
        bases = {id(basis) for layer in layers for basis in (layer.left, layer.right)}
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None and id(parameter) not in bases:
                    parameter -= self.learning_rate * parameter.grad
        model.zero_grad(set_to_none=True)
        if self.threshold is not None:
            for layer in layers:
                cut(layer, self.threshold)
        return {"training_loss": loss if training_loss is None else training_loss}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside the model: it has no memory, only its two numbers."""
        return {"learning_rate": self.learning_rate, "threshold": self.threshold}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learning_rate, self.threshold = state["learning_rate"], state["threshold"]

    def _slopes(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
        """Leaves the gradient of the loss in the parameters."""
        x, target = batch
        model.zero_grad(set_to_none=True)
        loss = self.loss(model(x), target)
        loss.backward()
        return loss.item()

    def _moved(self, factor: nn.Parameter) -> Tensor:
        """Where a step down the slope leads; a factor that the loss does not depend on stays where it is."""
        still = factor.detach()
        return still if factor.grad is None else still - self.learning_rate * factor.grad

    def _basis(self, old: Tensor, moved: Tensor) -> Tensor:
        return orthonormalised(moved) if self.threshold is None else widened(old, moved)


def cut(layer: ThreeFactors, threshold: float) -> None:
    """Drop the directions of a layer whose singular values together are at most the threshold's share of all."""
    out, values, into = torch.linalg.svd(layer.core.detach())
    rank = min(layer.most, max(min(LEAST, layer.most), kept(values, threshold)))
    layer.put(layer.left @ out[:, :rank], torch.diag(values[:rank]), layer.right @ into[:rank].T)


def network(seed: int) -> tuple[nn.Module]:
    """Two low-rank layers, from 8 numbers to 3 scores."""
    torch.manual_seed(seed)
    return (nn.Sequential(ThreeFactors(8, 24, rank=4), nn.ReLU(), ThreeFactors(24, 3, rank=2)),)


example = Example(lambda: DynamicalLowRank(learning_rate=0.1, threshold=0.1), inputs=network)
