"""The trainer of guided layers: it fades the dense guide out, rests it at random to save work, and lets it go.

Source: self-guided training in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward
Layers" (P126); the schedule and the resting as in its authors' code.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.layers.structured.guided_linear import GuidedLinear
from labkit.workbench.backprop import Backprop


def guide_share(done: float, until: float) -> float:
    """The guide's share when this part of the training is done: a cosine from 1 to 0 at `until`, then 0."""
    return 0.5 * (1 + math.cos(math.pi * done / until)) if done < until else 0.0


@dataclass
class Guided(Backprop):
    """Backprop that guides every GuidedLinear of the model for the first part of the training.

    With `resting`, each layer's guide rests in a step with probability 1 - share: then the layer is its structured path
    alone, and guiding costs half as much.
    """

    until: float = 0.5
    resting: bool = True

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        super().start(model, task, steps)
        self.guided = [module for module in model.modules() if isinstance(module, GuidedLinear)]

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        share = guide_share(self.taken / self.steps, self.until)
        for layer in self.guided:
            rests = self.resting and torch.rand(()).item() >= share
            layer.share = 0.0 if rests else share
        found = super().step(model, batch)
        for layer in self.guided:
            layer.share = share
            if share == 0:
                layer.let_go()
        return found
