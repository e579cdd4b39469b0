"""Know a table by heart: thousands of random keys, each with a random answer. Nothing can be guessed, all must be stored."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import LabError

Batch = tuple[Tensor, Tensor]
ASKED, PROBED = 4096, 2048
"""So many pairs are asked for at a test, and so many looked at in measurements."""


class RecallTable:
    """`pairs` random keys of `width` numbers, each with one of `answers` answers. Inputs (rows, width).

    The test asks for pairs that are trained on (4,096 of them where there are more): there is nothing else to know, so accuracy
    is what share of the table a network knows. Keys and answers are drawn from torch's generator: another seed is another table.
    """

    metric = "accuracy"

    def __init__(self, *, pairs: int = 4096, width: int = 32, answers: int = 64, batch: int = 256):
        if pairs < 1 or answers < 2:
            raise LabError(f"A table to recall has a pair or more and two answers or more, not {pairs} and {answers}.")
        self.name, self.pairs, self.batch = "recall_table", pairs, batch
        self.keys = F.normalize(torch.randn(pairs, width), dim=-1) * width**0.5
        self.wanted = torch.randint(answers, (pairs,))
        self.in_width, self.out_width = width, answers
        self.labels = tuple(str(answer) for answer in range(answers))

    def batches(self, seed: int, after: int = 0) -> Iterator[Batch]:
        """Endless shuffled batches, the same for the same seed; the first `after` of them are passed over."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            parts = torch.randperm(self.pairs, generator=generator).split(self.batch)
            for rows in parts[after:]:
                yield self.keys[rows], self.wanted[rows]
            after = max(0, after - len(parts))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats."""
        return F.cross_entropy(prediction, target)

    def test(self) -> Batch:
        """The first pairs of the table, which are as random as any others."""
        return self.keys[:ASKED], self.wanted[:ASKED]

    def train(self) -> Batch:
        return self.test()

    def probe(self) -> Batch:
        """Some keys and answers, for measurements by answer."""
        return self.keys[:PROBED], self.wanted[:PROBED]

    def accuracy(self, prediction: Tensor, target: Tensor) -> float:
        """The share of pairs that are recalled rightly."""
        return (prediction.argmax(-1) == target).float().mean().item()
