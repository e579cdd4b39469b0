"""A small network for pictures with two cuts, at which an input may be stopped: what follows is then not computed for it.

    block 1 -> cut -> block 2 -> cut -> block 3 -> block 4 -> answer

Each block is a convolution and a ReLU. The first two are cheap and the others dear, as where a device listens with a small part
of itself. What stands at a cut is the method under test. The answer is the log-odds that the input is wanted; a stopped input
is answered by the gate that stopped it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.layers.routing.gated_compression import StoppingGate, goes_on
from labkit.parts.gate import Routing

Cut = Callable[[int, int], nn.Module | None]
"""Channels and places -> what stands there, or nothing."""
SIDE, WIDTH = 28, 8
SURE = 1e-3
"""A stopped input is answered with log-odds below 0, at least by so much."""


class ExitPoint(nn.Module):
    """The plain early exit: a classifier at the cut answers, either way, where it is sure enough. Nothing is compressed.

    It is sure where the likelier answer has a probability above 1 - `threshold`. What it does not answer goes on as it is.
    """

    def __init__(self, in_width: int, places: int):
        super().__init__()
        self.in_width = self.out_width = in_width
        self.gate = StoppingGate(in_width * places)

    def forward(self, x: Tensor) -> Tensor:
        self.gate(x.flatten(-2))
        return x

    def passed(self, x: Tensor) -> tuple[Routing, Tensor, Tensor]:
        routing = self.gate(x.flatten(-2))
        assert routing.scores is not None
        wanted = torch.sigmoid(routing.scores[:, 1])
        sure = wanted > 1 - self.gate.threshold
        rows = (goes_on(routing) & (routing.soft | ~sure)).nonzero()[:, 0]
        return routing, rows, x[rows]


class StoppingNetwork(nn.Module):
    """(rows, 784) -> (rows, 2) scores of "not wanted" and "wanted". In evaluation stopped rows are not computed further."""

    def __init__(self, cut: Cut, *, width: int = WIDTH):
        super().__init__()
        widths, sides = [1, width, 2 * width, 4 * width, 4 * width], [14, 7, 7, 4]
        strides = (2, 2, 1, 2)
        self.blocks, self.cuts = nn.ModuleList(), nn.ModuleList()
        arrives: int = 1
        for place, (out, stride) in enumerate(zip(widths[1:], strides, strict=True)):
            self.blocks.append(nn.Conv2d(arrives, out, 3, stride=stride, padding=1))
            found: Any = cut(out, sides[place] ** 2) if place < 2 else None
            if place < 2:
                self.cuts.append(found or nn.Identity())
            arrives = out if found is None else found.out_width
        self.answer = nn.Linear(arrives * 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        score = self._whole(x) if self.training else self.followed(x)[0]
        return torch.stack((torch.zeros_like(score), score), -1)

    def gates(self) -> list[StoppingGate]:
        found = [getattr(cut, "gate", None) for cut in self.cuts]
        return [gate for gate in found if isinstance(gate, StoppingGate)]

    def _whole(self, x: Tensor) -> Tensor:
        x = x.view(-1, 1, SIDE, SIDE)
        for place, block in enumerate(self.blocks):
            x = F.relu(block(x))
            if place < len(self.cuts) and hasattr(self.cuts[place], "passed"):
                x = _map(self.cuts[place](x.flatten(2)))
        return self.answer(x.flatten(1)).squeeze(-1)

    def followed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds that each row is wanted, and at which cut it was answered (the number of cuts for the end). (rows,) both."""
        score, where = x.new_empty(0), torch.empty(0, dtype=torch.long, device=x.device)
        left = torch.empty(0, dtype=torch.long, device=x.device)
        some = False  # whether any row was answered: until then none has to be picked out
        x = x.view(-1, 1, SIDE, SIDE)
        for place, block in enumerate(self.blocks):
            x = F.relu(block(x))
            cut: Any = self.cuts[place] if place < len(self.cuts) else None
            if not hasattr(cut, "passed"):
                continue
            routing, on, sent = cut.passed(x.flatten(2))
            x = _map(sent)
            if len(on) == len(routing.index):
                continue
            said = _said(routing)
            if some:
                score, where = score.index_copy(0, left, said), where.index_fill(0, left, place)
            else:
                score, where = said, torch.full_like(said, place, dtype=torch.long)
            if not len(on):
                return score, where
            left, some = left[on] if some else on, True
        said = self.answer(x.flatten(1)).squeeze(-1)
        if not some:
            return said, torch.full_like(said, len(self.cuts), dtype=torch.long)
        return score.index_copy(0, left, said), where.index_fill(0, left, len(self.cuts))

    @torch.no_grad()
    def set_thresholds(self, x: Tensor, wanted: Tensor, lost: float) -> None:
        """Set each gate so that it stops at most a share `lost` of the wanted inputs, and as much else as it can."""
        training = self.training
        self.eval()
        x = x[wanted == 1]
        for gate in self.gates():
            gate.threshold.zero_()
        for gate in self.gates():
            seen: list[Any] = []
            handle = gate.register_forward_hook(lambda _gate, _given, said, seen=seen: seen.append(said))
            try:
                self(x)
            finally:
                handle.remove()
            if seen:
                likely = torch.sigmoid(seen[0].scores[:, 1]).sort().values
                gate.threshold.copy_(likely[min(int(lost * len(x)), len(likely) - 1)])
        self.train(training)

    @torch.no_grad()
    def set_open(self) -> None:
        """Let everything pass."""
        for gate in self.gates():
            gate.threshold.zero_()

    def thresholds(self) -> Sequence[float]:
        return [gate.threshold.item() for gate in self.gates()]


class Lots(StoppingNetwork):
    """The same network, but in evaluation the cuts' decisions are given to other pictures by lot: as many are stopped."""

    def followed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        where = super().followed(x)[1]
        where = where[torch.randperm(len(x), generator=torch.Generator().manual_seed(len(x)))]
        kept = [gate.threshold.clone() for gate in self.gates()]
        self.set_open()
        score = super().followed(x)[0]
        for gate, threshold in zip(self.gates(), kept, strict=True):
            gate.threshold.copy_(threshold)
        return torch.where(where < len(self.cuts), -torch.ones_like(score), score), where


def _map(x: Tensor) -> Tensor:
    side = round(x.shape[-1] ** 0.5)
    return x.unflatten(-1, (side, side))


def _said(routing: Routing) -> Tensor:
    """What a gate answers for its rows: its log-odds, below 0 where it stops."""
    assert routing.scores is not None
    score = routing.scores[:, 1]
    return torch.where(goes_on(routing), score, score.clamp_max(-SURE))
