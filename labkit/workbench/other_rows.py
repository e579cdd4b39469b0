"""A trainer that learns from other rows than its task says: wrong labels, random labels, random inputs.

What is measured stays what it was, since the task is not touched: arms that learn from damaged rows are compared on whole ones.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.recording.kinds import Activations
from labkit.recording.record import record
from labkit.workbench.backprop import Backprop

Change = Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
"""(x, labels, classes, generator) -> other rows, as many."""


def as_they_are(x: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """No change."""
    return x, labels


def random_labels(x: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every label is drawn anew: nothing can be learnt but the rows by heart."""
    return x, torch.randint(classes, labels.shape, generator=generator)


def random_inputs(x: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every input is Gaussian noise, with the mean and the spread that the inputs have."""
    return x.mean() + x.std() * torch.randn(x.shape, generator=generator), labels


def wrong_labels(share: float) -> Change:
    """This share of the rows is given a label of another class, each other class alike."""

    def change(x: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        wrong = torch.rand(labels.shape, generator=generator) < share
        moved = (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes
        return x, torch.where(wrong, moved, labels)

    return change


@dataclass
class OtherRows(Backprop):
    """Backprop on rows that `change` makes of the task's training rows, once, before the first step.

    The rows are changed alike for all arms of a seed. Batches are drawn from them, the same for the same seed; the batch
    that a step is given only says how large a batch is. `smoothing` is that of the labels, in a cross-entropy; `quiet` weighs
    the mean modulus of the hidden activations (L1), which is added to the loss.
    """

    change: Change = as_they_are
    smoothing: float = 0.0
    quiet: float = 0.0

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        super().start(model, task, steps)
        self.seed = torch.initial_seed() % 2**31
        generator = torch.Generator().manual_seed(self.seed + 7919)
        self.x, self.labels = self.change(task.train_x, task.train_y, task.out_width, generator)

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, labels = self.drawn(len(batch[0]))
        model.train()
        with record(model, Activations, attached=True) if self.quiet else nullcontext({}) as trace:
            prediction = model(x)
        loss = F.cross_entropy(prediction, labels, label_smoothing=self.smoothing)
        said = [call.values.abs().mean() for call in trace.values()]
        self.descend(model, loss + self.quiet * torch.stack(said).mean() if said else loss)
        return {"training_loss": loss.item()}

    def drawn(self, size: int) -> tuple[Tensor, Tensor]:
        """The rows of the step that comes next: every row once before any comes again."""
        each = -(-len(self.x) // size)
        turn, place = divmod(self.taken, each)
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.seed + 104729 * (turn + 1)))
        rows = order[place * size : (place + 1) * size]
        return self.x[rows], self.labels[rows]
