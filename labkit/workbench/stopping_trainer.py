"""How networks that stop early are trained: the task, the gates, and a price on what is sent, and thresholds set by one rule."""

from typing import Any

from torch import Tensor

from labkit.losses.routing.early_stopping import early_stopping
from labkit.losses.routing.sent_values import sent_values
from labkit.parts.gate import Routing
from labkit.parts.transmission import Transmitted
from labkit.recording.record import record
from labkit.workbench.backprop import Backprop

LOST = 0.01
"""What each gate may stop of the wanted inputs, on held-out ones."""
EVERY = 30
"""Steps from one setting of the thresholds to the next."""


class Stopping(Backprop):
    """Backprop on the task, α times the gates' loss and β, which rises from 0, times what is sent; sets the thresholds."""

    def __init__(self, rate: float, *, alpha: float = 0.0, beta: float = 0.0, lost: float | None = LOST):
        super().__init__(rate)
        self.alpha, self.beta, self.lost = alpha, beta, lost

    def start(self, model: Any, task: Any, steps: int) -> None:
        super().start(model, task, steps)
        self.task = task

    def step(self, model: Any, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        model.train()
        said: dict[str, Tensor] = {}
        if not list(model.gates()):
            loss = self.loss(model(x), target)
            total = loss
        else:
            with record(model, (Routing, Transmitted), attached=True) as trace:
                prediction = model(x)
            loss = self.loss(prediction, target)
            said["early_stopping"] = early_stopping(trace, target)
            if trace.every(Transmitted):
                said["sent_values"] = sent_values(trace)
            price = self.beta * self.taken / self.steps
            total = loss + self.alpha * said["early_stopping"] + price * said.get("sent_values", 0)
        self.descend(model, total)
        if self.lost is not None and (self.taken % EVERY == 0 or self.taken == self.steps):
            model.set_thresholds(*self.task.setting(), self.lost)
        elif self.lost is None:
            model.set_open()
        return {"training_loss": loss.item(), **{name: value.item() for name, value in said.items()}}
