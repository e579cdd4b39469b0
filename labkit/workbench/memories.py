"""Associative memories that are compared: patterns are stored one after the other, and found again from damaged copies.

A memory is a module (rows, width) -> (rows, width) with a method `store(patterns)`; `pictures` says how many it was given.
`Storing` makes a trainer of it: a training step stores one more batch, and nothing has a gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.hopfield import hebbian, recall, settle

MANY, NEW = 20, 1e-3
"""The most updates of a memory that settles, and what share of a pattern must be new for the projection rule to keep it."""


class Nearest(nn.Module):
    """Keeps patterns and says which one a state resembles most. (rows, width) -> (rows, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("room", torch.zeros(64, width))
        self.kept = self.pictures = 0

    @property
    def patterns(self) -> Tensor:
        return self.room[: self.kept]

    def keep(self, patterns: Tensor) -> None:
        while self.kept + len(patterns) > len(self.room):
            self.room = torch.cat((self.room, torch.zeros_like(self.room)))
        self.room[self.kept : self.kept + len(patterns)] = patterns
        self.kept += len(patterns)

    def store(self, patterns: Tensor) -> None:
        self.keep(patterns)
        self.pictures += len(patterns)

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.patterns):
            return x
        return self.patterns[(x @ self.patterns.T).argmax(-1)]


class Modern(Nearest):
    """Moves a state by the softmax update, at most `most` times."""

    def __init__(self, width: int, *, beta: float, most: int):
        super().__init__(width)
        self.beta, self.most = beta, most

    def forward(self, x: Tensor) -> Tensor:
        return settle(x, self.patterns, beta=self.beta, most=self.most)[0]


class Projection(Nearest):
    """Projects onto the space that the patterns span: of each pattern the direction that is new is kept.

    No unit acts on itself, which makes it find more (I. Kanter and H. Sompolinsky, 1987).
    """

    def store(self, patterns: Tensor) -> None:
        for pattern in patterns:
            rest = pattern
            for _ in range(2):  # once more, against rounding
                rest = rest - (rest @ self.patterns.T) @ self.patterns
            if rest.norm() > NEW * pattern.norm():
                self.keep(F.normalize(rest, dim=0).unsqueeze(0))
        self.pictures += len(patterns)

    def forward(self, x: Tensor) -> Tensor:
        itself = self.patterns.square().sum(0)
        for _ in range(MANY):
            new = ((x @ self.patterns.T) @ self.patterns - itself * x).sign()
            if torch.equal(new, x):
                break
            x = new
        return x


class Classic(nn.Module):
    """Hebb's rule: a pattern is added to the weights and not kept. (rows, width) -> (rows, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("weights", torch.zeros(width, width))
        self.pictures = 0

    def store(self, patterns: Tensor) -> None:
        self.weights += hebbian(patterns)
        self.pictures += len(patterns)

    def forward(self, x: Tensor) -> Tensor:
        return recall(x, self.weights, steps=MANY)


class Storing:
    """A trainer without gradients: a step stores a batch. Its "loss" is how wrongly a picture just stored is recalled."""

    def start(self, model: Any, task: Any, steps: int) -> None:
        self.task = task
        model.slot.store(task.first())

    @torch.no_grad()
    def step(self, model: Any, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        model.slot.store(batch[0])
        return {"training_loss": self.task.loss(self.predict(model, batch[0]), batch[1]).item()}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)
