"""An Adam that goes on where it was: when the model is replaced by a copy of itself, and when a training is kept and resumed.

For trainers that own their step. What Adam remembers of each weight belongs to the optimizer and not to the model, so it has to
be carried over by hand.
"""

from typing import Any

import torch
from torch import nn


class CarriedAdam:
    """The optimizer of a trainer with a `learning_rate`: `begin` it, `follow` the model of each step, keep its state."""

    learning_rate: float
    optimizer: Any = None

    def begin(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.Adam(model.parameters(), self.learning_rate)

    def follow(self, model: nn.Module) -> None:
        """Take what Adam remembers over to this model, where it is a copy of the one that was trained before."""
        held = self.optimizer.param_groups[0]["params"]
        if any(one is not other for one, other in zip(model.parameters(), held, strict=True)):
            remembered = self.optimizer.state_dict()
            self.begin(model)
            self.optimizer.load_state_dict(remembered)

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on beside the model."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
