"""The ordinary trainer: gradients of the task's loss, plus penalties computed from a recording of the same pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.parts.tree import Branching
from labkit.recording.record import Trace, record

Penalty = Callable[[Trace], Tensor]
Weight = float | Callable[[float], float]


@dataclass(frozen=True)
class Rising:
    """A weight that grows in a straight line from 0 to `top` over the training."""

    top: float

    def __call__(self, done: float) -> float:
        return self.top * done


@dataclass
class Backprop:
    """AdamW with a cosine schedule after a short warm-up.

    `penalties` maps a loss on a recording to its weight: a number, or a function of how much of the training is done.
    """

    learning_rate: float = 1e-2
    penalties: Mapping[Penalty, Weight] = field(default_factory=dict)
    weight_decay: float = 0.0
    clip: float = 1.0

    def start(self, model: nn.Module, task, steps: int) -> None:
        self.loss, self.steps, self.taken = task.loss, max(steps, 1), 0
        learn = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learn, self.learning_rate, weight_decay=self.weight_decay)
        steps = max(steps, 2)
        # a warm-up of one step or less divides by zero in OneCycleLR
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, self.learning_rate, total_steps=steps, pct_start=max(0.1, 2 / steps)
        )

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        model.train()
        if self.penalties:
            with record(model, (Routing, Branching), attached=True) as trace:
                prediction = model(x)
            task = self.loss(prediction, target)
            said = {penalty.__name__: penalty(trace) for penalty in self.penalties}
            done = self.taken / self.steps
            total = task + sum(
                (weight(done) if callable(weight) else weight) * said[penalty.__name__]
                for penalty, weight in self.penalties.items()
            )
        else:
            task, said = self.loss(model(x), target), {}
            total = task
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.taken += 1
        return {"training_loss": task.item(), **{name: value.item() for name, value in said.items()}}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)
