"""Trains a network with a memory: the values learn more quickly than everything else, as each is read by few inputs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit.layers.memory.product_key_memory import ProductKeyMemory
from labkit.workbench.backprop import Backprop


@dataclass
class QuickValues(Backprop):
    """Backprop with a higher learning rate for the values of a memory, each of which learns from few inputs."""

    times: float = 1.0

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        super().start(model, task, steps)
        values = [module.values for module in model.modules() if isinstance(module, ProductKeyMemory)]
        if not values:
            return
        learn = [one for one in model.parameters() if one.requires_grad and all(one is not value for value in values)]
        rates, steps = [self.learning_rate, self.learning_rate * self.times], max(steps, 2)
        self.optimizer = torch.optim.AdamW([{"params": learn}, {"params": values}], self.learning_rate, weight_decay=0)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, total_steps=steps, pct_start=max(0.1, 2 / steps)
        )
