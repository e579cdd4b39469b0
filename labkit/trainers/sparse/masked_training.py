"""Trains a network of which only some weights exist, and lets a schedule say which: sparse training in all its kinds.

After every step the schedule may change the masks or send the weights back to where they began. Weights outside their mask
are 0, bitwise, whenever anyone looks; a weight that comes into being starts at 0; where a weight goes, its momentum goes too.

    w ← m ⊙ (w - η Adam(∂L/∂w)),        m ← schedule(step, w, ∂L/∂w, m)

Symbols: w a weight, m its mask of 0 and 1, η the learning rate. The gradient is dense: it is taken where m is 0 as well, for
schedules that grow where it is largest; a sparse kernel would not have it for free.

A layer that is sparse from the start hears little of what its weights were drawn for: with `louder` they are divided by the
square root of its density, as if they had been drawn for as many inputs as there are.

Biases and norms are not masked. `masks` may be read at any time. The learning rate is constant, or falls along a cosine within
every stretch between two rewinds.

Source: one interface for the methods of "Ten Lessons We Have Learned in the New 'Sparseland'" (P420): "Scalable Training of
Artificial Neural Networks with Adaptive Sparse Connectivity inspired by Network Science" (P029), "The Lottery Ticket
Hypothesis: Finding Sparse, Trainable Neural Networks" (P218) and others; see `parts.mask_schedules`.
"""

import copy
import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.mask import Masks, changed, density_of, weights_of
from labkit.parts.mask_schedules import Back, DropAndGrow, Lottery, Schedule


@dataclass
class MaskedTraining:
    """AdamW on the weights that a schedule lets exist. `seed` draws the masks.

    Raises: ValueError for a learning rate that is not positive, or a model without linear, convolutional or recurrent layers.
    Source: "Ten Lessons We Have Learned in the New 'Sparseland'" (P420).
    """

    schedule: Schedule
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    falls: bool = True
    louder: bool = False
    seed: int = 0
    masks: Masks = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate of MaskedTraining is above 0, not {self.learning_rate:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss, self.steps, self.taken, self.since = task.loss, max(steps, 1), 0, 0
        self.draw = torch.Generator().manual_seed(self.seed + 7919 * (torch.initial_seed() % 2**31))
        self.first = copy.deepcopy(model.state_dict())
        weights = weights_of(model)
        slopes = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        if self.schedule.looks:
            self.loss(model.train()(task.train()[0]), task.train()[1]).backward()
            slopes = {name: _slope(weight) for name, weight in weights.items()}
            model.zero_grad(set_to_none=True)
        self.masks = self.schedule.begin(weights, slopes, self.draw)
        again = isinstance(self.schedule, Lottery) and self.schedule.control == "drawn again"
        self.tickets = self._searched(model, task) if again else []
        if self.louder:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight /= max(self.masks[name].float().mean().item(), 1e-6) ** 0.5
        self.optimizer = self._optimizer(model)
        self._apply(model)

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        model.train()
        self._rebind(model)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(model(x), target)
        loss.backward()
        slopes = {name: _slope(weight) for name, weight in weights_of(model).items()}
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.step()
        self._apply(model)
        self.taken += 1
        self.since += 1
        moved = 0.0
        change = self.schedule.after(
            self.taken,
            self.steps,
            weights_of(model),
            slopes,
            {name: mask.clone() for name, mask in self.masks.items()},
            self.draw,
        )
        if change is not None:
            if self.tickets:
                change = change._replace(masks=self.tickets.pop(0))
            moved = changed(self.masks, change.masks)
            self.masks = change.masks
            if change.back:
                self._go_back(model, change.back)
            self._apply(model)
        model.zero_grad(set_to_none=True)
        return {"training_loss": loss.item(), "density": density_of(self.masks), "changed_places": moved}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on beside the model."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "masks": dict(self.masks),
            "tickets": list(self.tickets),
            "first": self.first,
            "draw": self.draw.get_state(),
            "steps": self.steps,
            "taken": self.taken,
            "since": self.since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.masks, self.tickets, self.first = dict(state["masks"]), list(state["tickets"]), state["first"]
        self.draw.set_state(state["draw"])
        self.steps, self.taken, self.since = state["steps"], state["taken"], state["since"]

    def _searched(self, model: nn.Module, task: Any) -> list[Masks]:
        """The masks of the tickets that a training from these first weights finds, level by level."""
        twin, finder = copy.deepcopy(model), copy.copy(self)
        finder.schedule = replace(self.schedule, control=None)  # type: ignore[type-var]
        found = []
        with torch.random.fork_rng(devices=[]):
            finder.start(twin, task, self.steps)
            batches = task.batches(torch.initial_seed())
            for _ in range(self.steps - self.schedule.length(self.steps)):  # type: ignore[attr-defined]
                if finder.step(twin, next(batches))["changed_places"]:
                    found.append(finder.masks)
        return found

    def _optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        learn = [weight for weight in model.parameters() if weight.requires_grad]
        return torch.optim.AdamW(learn, self.learning_rate, weight_decay=self.weight_decay)

    def _rebind(self, model: nn.Module) -> None:
        """A copy of the trainer goes on with a copy of the model: its optimizer has to hold that one's weights."""
        mine = self.optimizer.param_groups[0]["params"]
        if any(
            one is not other
            for one, other in zip(mine, (w for w in model.parameters() if w.requires_grad), strict=True)
        ):
            state, self.optimizer = self.optimizer.state_dict(), self._optimizer(model)
            self.optimizer.load_state_dict(state)

    def _rate(self) -> float:
        """The rate of the next step: a short warm-up and a cosine within each stretch between two rewinds."""
        if not self.falls:
            return self.learning_rate
        long = self.schedule.length(self.steps) if isinstance(self.schedule, Lottery) else self.steps
        done = min(self.since / long, 1.0)
        return (
            self.learning_rate
            * min(1.0, (self.since + 1) / max(1.0, 0.05 * long))
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        )

    @torch.no_grad()
    def _apply(self, model: nn.Module) -> None:
        """What does not exist is 0, and has no momentum."""
        for name, weight in weights_of(model).items():
            gone = ~self.masks[name]
            weight.masked_fill_(gone, 0)
            for value in self.optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.masked_fill_(gone, 0)

    def _go_back(self, model: nn.Module, back: Back) -> None:
        """All weights to where they began, or newly drawn in the way of each layer; the optimizer forgets."""
        model.load_state_dict(self.first)
        if back == "drawn again":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (), generator=self.draw)))
                for module in model.modules():
                    if hasattr(module, "reset_parameters"):
                        module.reset_parameters()  # type: ignore[operator]
        self.optimizer, self.since = self._optimizer(model), 0


def _slope(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.detach().clone()


example = Example(lambda: MaskedTraining(DropAndGrow(0.3, "erdos_renyi", every=10), learning_rate=1e-2))
