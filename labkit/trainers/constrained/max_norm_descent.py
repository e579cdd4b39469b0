"""Gradient descent as dropout was first trained: momentum that grows, a large rate that falls, and a cap on ingoing weights.

    Δ ← μ_t Δ - (1 - μ_t) η_t ∂L/∂w,      w ← w + Δ,      w_u ← w_u · min(1, c / ‖w_u‖₂) for every unit u

    μ_t grows in a straight line from 0.5 to 0.99 over the first half of the training,      η_t = η_0 d^t

Symbols: w a weight, w_u the ingoing weights of unit u (without its bias), L the loss, c the cap, η_0 the first rate, and d
chosen so that the rate falls to `ends_at` times the first one. With the cap no weight can run away, so η_0 may be very large.
The factor (1 - μ_t) makes η_t the length of a step in the long run, whatever the momentum.

The cap holds for all layers but the last, whose units are the scores. `decay` is an L2 penalty, decay/2 ‖W‖² of the matrices
added to the loss: the ordinary cure against overfitting, for baselines.

Source: "Improving neural networks by preventing co-adaptation of feature detectors" (P158): update, growth of the momentum,
falling rate and cap on the squared length (there 15, momentum over 500 epochs, a rate of 10 that falls by 0.998 an epoch).
Reconstructed from its appendix; that the schedule is spread over the steps there are, and the last layer's exception, are ours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.max_norm import capped, matrices

SLOW, FAST = 0.5, 0.99


@dataclass
class MaxNormDescent:
    """Gradient descent with a cap on the length of every hidden unit's ingoing weights; None: no cap.

    Raises: ValueError for a rate or a cap that is not positive, an `ends_at` outside 0 to 1, or a negative decay.
    Source: "Improving neural networks by preventing co-adaptation of feature detectors" (P158).
    """

    learning_rate: float = 1.0
    cap: float | None = 15**0.5
    decay: float = 0.0
    ends_at: float = 0.05
    fast: float = FAST

    def __post_init__(self) -> None:
        for name, value in (("learning rate", self.learning_rate), ("cap", 1.0 if self.cap is None else self.cap)):
            if not value > 0:
                raise ValueError(f"the {name} of MaxNormDescent is above 0, not {value:g}.")
        if not 0 < self.ends_at <= 1:
            raise ValueError(
                f"the rate of MaxNormDescent falls to a share of the first one above 0 and up to 1, not {self.ends_at:g}."
            )
        if self.decay < 0:
            raise ValueError(f"the decay of MaxNormDescent is 0 or more, not {self.decay:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss, self.steps, self.taken = task.loss, max(steps, 1), 0
        self.moves = {
            name: torch.zeros_like(weight) for name, weight in model.named_parameters() if weight.requires_grad
        }

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        model.train()
        model.zero_grad(set_to_none=True)
        loss = self.loss(model(x), target)
        loss.backward()
        kept, rate = self.momentum(), self.rate()
        layers = matrices(model)
        penalised = {f"{name}.weight" if name else "weight" for name in layers} if self.decay else set()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.grad is None:
                    continue
                slope = weight.grad + self.decay * weight if name in penalised else weight.grad
                move = self.moves[name].mul_(kept).sub_(slope, alpha=(1 - kept) * rate)
                weight.add_(move)
            for weight in list(layers.values())[:-1] if self.cap is not None else ():
                weight.copy_(capped(weight, self.cap))
        model.zero_grad(set_to_none=True)
        self.taken += 1
        return {"training_loss": loss.item()}

    def momentum(self) -> float:
        """How much of the last move is kept in the next step."""
        return SLOW + (self.fast - SLOW) * min(1.0, 2 * self.taken / self.steps)

    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.learning_rate * self.ends_at ** min(1.0, self.taken / self.steps)

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on beside the model."""
        return {
            "moves": {name: move.clone() for name, move in self.moves.items()},
            "taken": self.taken,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.moves = {name: move.clone() for name, move in state["moves"].items()}
        self.taken, self.steps = state["taken"], state["steps"]


example = Example(lambda: MaxNormDescent(learning_rate=1.0, cap=3.0))
