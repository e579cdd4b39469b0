"""Multiple instances: a bag of handwritten digits is positive if it holds a nine, and nobody says which digit it is."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.workbench.datasets.load import load

Batch = tuple[Tensor, Tensor]
SHRUNK = 2
"""Neighbouring pixels that become one, in each direction."""


class BagsOfDigits:
    """Bags (rows, instances, pixels) of images from MNIST at half resolution; label 1 if one or more shows `wanted`.

    Half of the bags are positive. A positive bag holds exactly one wanted digit in a random place, so that a share of one in
    `instances` decides. Training and test bags are drawn from different images. The bags of a seed of torch's generator are
    always the same; the test bags are the same for all seeds.
    """

    metric = "accuracy"

    def __init__(
        self, *, instances: int = 16, bags: int = 1000, test_bags: int = 1000, batch: int = 64, wanted: int = 9
    ):
        data = load("mnist")
        if instances < 1 or not 0 <= wanted < len(data.classes):
            raise LabError(
                f"A bag holds one digit or more and looks for one of 0 to {len(data.classes) - 1}, not {instances} and {wanted}."
            )
        self.name, self.batch, self.instances, self.wanted = "bags_of_digits", batch, instances, wanted
        learnt, held = (F.avg_pool2d(x, SHRUNK).flatten(1) for x in (data.train_x, data.test_x))
        draw = torch.Generator().manual_seed(torch.initial_seed())
        self.train_x, self.train_y = self._bags(learnt, data.train_y, bags, draw)
        self.test_x, self.test_y = self._bags(held, data.test_y, test_bags, torch.Generator().manual_seed(0))
        self.in_width, self.out_width = learnt.shape[1], 2
        self.labels = (f"without a {wanted}", f"with a {wanted}")

    def _bags(self, images: Tensor, digits: Tensor, count: int, draw: torch.Generator) -> Batch:
        others, found = (digits != self.wanted).nonzero()[:, 0], (digits == self.wanted).nonzero()[:, 0]
        members = others[torch.randint(len(others), (count, self.instances), generator=draw)]
        label = torch.arange(count) % 2
        place = torch.randint(self.instances, (count,), generator=draw)
        chosen = found[torch.randint(len(found), (count,), generator=draw)]
        rows = label.nonzero()[:, 0]
        members[rows, place[rows]] = chosen[rows]
        return images[members], label

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
        """As many training bags as there are test bags, where there are so many."""
        return self.train_x[: len(self.test_x)], self.train_y[: len(self.test_y)]

    def probe(self) -> Batch:
        """Bags and labels, for measurements by class."""
        return self.test()

    def accuracy(self, prediction: Tensor, target: Tensor) -> float:
        return (prediction.argmax(-1) == target).float().mean().item()
