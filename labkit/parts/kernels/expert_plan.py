"""Which rows belong to which expert, and the memory that a compiled bank of experts works in."""

import ctypes
import threading

import torch
from torch import Tensor

from labkit.parts.kernels.cpu.expert_sizes import BLOCK, HEAD, PANEL, WIDEST
from labkit.parts.kernels.engine import Kernel

_sort = Kernel("experts", "sort")

KEPT = 1 << 24
"""Numbers of working memory that a thread keeps, at most (64 MiB)."""
_own = threading.local()


def padded_to(width: int) -> int:
    """A row's length in memory: a whole number of vectors."""
    return -(-width // WIDEST) * WIDEST


def _places(many: int, count: int) -> int:
    """The most blocks that so many rows of so many experts can make."""
    return min(count, many) + many // BLOCK


def plan_length(many: int, count: int) -> int:
    """Numbers of a plan for so many choices among so many experts."""
    return HEAD + 3 * _places(many, count) + count + 1 + many


def out_of_range(count: int) -> IndexError:
    return IndexError(f"experts are numbered from 0 to {count - 1} (-1 is none), but the routing says otherwise.")


class Plan:
    """Which rows belong to which expert, as `sort` wrote it."""

    def __init__(self, index: Tensor, count: int, plan: Tensor | None = None):
        self.many, self.choices, self.count = index.numel(), index.shape[-1], count
        self.room = _places(self.many, count)
        if plan is None:
            plan = torch.empty(plan_length(self.many, count), dtype=torch.long)
            _sort(1, index.data_ptr(), self.many, count, plan.data_ptr(), self.room)
        self.plan, self.address = plan, plan.data_ptr()
        self.blocks, wrong, self.dropped, _ = (ctypes.c_int64 * HEAD).from_address(self.address)
        if wrong:
            raise out_of_range(count)
        self.starts = self.address + 8 * (HEAD + 3 * self.room)
        self.order = self.starts + 8 * (count + 1)

    def slots(self) -> None:
        """Lets the threads of the next kernel take their places in the scratch memory anew."""
        ctypes.c_int64.from_address(self.address + 24).value = 0

    def empty(self, *shape: int) -> Tensor:
        return torch.zeros(shape) if self.dropped else torch.empty(shape)


def scratch_sizes(into: int, inner: int, out: int) -> tuple[int, tuple[int, int]]:
    """Elements that a thread needs for a block: in all, for its rows in groups, for a panel of a matrix."""
    widest = padded_to(max(into, inner))
    sizes = (BLOCK + WIDEST) * widest, PANEL * (widest + 1)
    return sum(sizes) + BLOCK * (into + out) + WIDEST, sizes


def room(*sizes: int) -> list[Tensor]:
    """Memory for what a computation needs only meanwhile: kept for the next one, as fresh memory costs a tenth of the time."""
    whole = sum(sizes)
    if whole > KEPT:
        return [torch.empty(size) for size in sizes]
    mine = getattr(_own, "room", None)
    if mine is None or len(mine) < whole:
        mine = _own.room = torch.empty(whole)
    return list(mine[:whole].split(sizes))
