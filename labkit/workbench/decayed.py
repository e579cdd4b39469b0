"""A trainer whose loss has a penalty on the model's weights: how large they are, in whatever sense the penalty says."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labkit.workbench.backprop import Backprop


def factor_decay(model: nn.Module) -> Tensor:
    """Ordinary decay of factored layers: the squared norms of the factors `down` and `up`, each by itself, added up."""
    factors = [getattr(module, name, None) for module in model.modules() for name in ("down", "up")]
    return torch.stack([factor.square().sum() for factor in factors if isinstance(factor, Tensor)]).sum()


def nothing(model: nn.Module) -> Tensor:
    """No penalty."""
    return torch.zeros(())


@dataclass
class Decayed(Backprop):
    """Backprop with `strength` times `decay(model)` added to the loss. The training loss that it reports is the task's."""

    decay: Callable[[nn.Module], Tensor] = nothing
    strength: float = 0.0

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        own = self.loss
        size = self.decay(model)
        try:
            self.loss = lambda prediction, target: own(prediction, target) + self.strength * size
            found = super().step(model, batch)
        finally:
            self.loss = own
        found["training_loss"] -= self.strength * size.item()
        return found | {self.decay.__name__: size.item()}
