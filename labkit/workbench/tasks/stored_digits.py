"""Store pictures one by one, then find them again from damaged copies: what an associative memory is for."""

from collections.abc import Iterator

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.workbench.datasets.load import load

Batch = tuple[Tensor, Tensor]
RIGHT = 0.02
"""A picture counts as retrieved when at most this share of its pixels is wrong."""
DAMAGES = ("half masked", "noisy")


class StoredDigits:
    """Handwritten digits as patterns of ones and minus ones (rows, pixels), and damaged copies to retrieve them from.

    A batch is the next picture to be stored, as input and as target. The first one, `first()`, is not among the batches: it
    is stored before them. Which pictures there are, and their order, is drawn from torch's generator. "half masked" sets the
    lower half of a picture to 0, which says nothing; "noisy" turns the share `flipped` of its pixels over.
    """

    metric = "accuracy"

    def __init__(self, *, pictures: int = 2000, asked: int = 128, flipped: float = 0.3):
        images = load("mnist").train_x.flatten(1)
        if not 1 <= pictures <= len(images):
            raise LabError(f"There are {len(images):,} digits to be stored, and {pictures:,} are asked for.")
        draw = torch.Generator().manual_seed(torch.initial_seed())
        order = torch.randperm(len(images), generator=draw)[:pictures]
        self.patterns = (images[order] > 0.5).float() * 2 - 1
        self.flips = 1 - 2 * (torch.rand(self.patterns.shape, generator=draw) < flipped).float()
        self.name, self.asked, self.labels = "stored_digits", asked, DAMAGES
        self.in_width = self.out_width = images.shape[1]

    def batches(self, seed: int, after: int = 0) -> Iterator[Batch]:
        """The pictures after the first in their order, and from the beginning again where they end."""
        place = 1 + after
        while True:
            one = self.patterns[place % len(self.patterns)].unsqueeze(0)
            yield one, one
            place += 1

    def first(self) -> Tensor:
        """The picture that is stored before all others, (1, pixels)."""
        return self.patterns[:1]

    def damaged(self, stored: int, how: str) -> Batch:
        """Damaged copies and originals of some of the first `stored` pictures, evenly spread, at most `asked` of them."""
        rows = torch.linspace(0, stored - 1, min(stored, self.asked)).long()
        wanted = self.patterns[rows]
        if how == "noisy":
            return wanted * self.flips[rows], wanted
        if how != "half masked":
            raise LabError(f"Pictures are damaged as {' or '.join(DAMAGES)}, not as {how!r}.")
        known = torch.arange(wanted.shape[1]) < wanted.shape[1] // 2
        return wanted * known, wanted

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The share of pixels whose sign is wrong."""
        return (prediction.sign() != target).float().mean()

    def test(self) -> Batch:
        return self.damaged(len(self.patterns), "half masked")

    def train(self) -> Batch:
        return self.test()

    def probe(self) -> Batch:
        return self.test()

    def accuracy(self, prediction: Tensor, target: Tensor) -> float:
        """The share of pictures that are retrieved: at most 2 % of their pixels have the wrong sign."""
        wrong = (prediction.sign() != target).float().mean(-1)
        return (wrong <= RIGHT).float().mean().item()
