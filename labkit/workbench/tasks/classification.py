"""Tell the class of an image or a row of a table."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.workbench.datasets.load import load

Batch = tuple[Tensor, Tensor]


class Labelled:
    """Rows with one class each, whatever a row is: a task has train_x, train_y, test_x, test_y and batch."""

    metric = "accuracy"
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    batch: int

    def batches(self, seed: int, after: int = 0) -> Iterator[Batch]:
        """Endless shuffled batches, the same for the same seed; the first `after` of them are passed over."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            parts = torch.randperm(len(self.train_x), generator=generator).split(self.batch)
            for rows in parts[after:]:
                yield self.train_x[rows], self.train_y[rows]
            after = max(0, after - len(parts))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats."""
        return F.cross_entropy(prediction, target)

    def test(self) -> Batch:
        return self.test_x, self.test_y

    def train(self) -> Batch:
        """As many training rows as there are test rows: for the accuracy on what was learnt from."""
        return self.train_x[: len(self.test_x)], self.train_y[: len(self.test_y)]

    def probe(self) -> Batch:
        """Inputs and labels for measurements by class."""
        return self.test()

    def accuracy(self, prediction: Tensor, target: Tensor) -> float:
        return (prediction.argmax(-1) == target).float().mean().item()


class Classification(Labelled):
    """A data set with its loss and its batches. Inputs are flattened: (rows, features).

    `rows` limits the training part, `test_rows` the test part (both are shuffled by nature: balanced subsets).
    """

    def __init__(self, name: str, *, batch: int = 128, rows: int | None = None, test_rows: int | None = None):
        self.dataset = load(name)
        self.name, self.batch = name, batch
        self.train_x, self.train_y = self.dataset.train_x.flatten(1)[:rows], self.dataset.train_y[:rows]
        self.test_x, self.test_y = self.dataset.test_x.flatten(1)[:test_rows], self.dataset.test_y[:test_rows]
        self.in_width, self.out_width = self.train_x.shape[1], len(self.dataset.classes)
        self.labels = tuple(self.dataset.classes)
