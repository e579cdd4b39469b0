"""Lists of the units that each row needs, made and worked off in compiled code."""

import ctypes

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, threads_for

kernel, _turn = Kernel("active_units", "act"), Kernel("active_units", "turn")
INDEX, NONZERO, DOTS, SUMS = 1, 2, 4, 8
"""Steps of the kernel."""
NOTHING = (None, None)
BLOCK = 256
"""Rows that go through the units together."""
ENTRIES = 2**20
"""Entries of the lists that are made at a time."""
TILE = 2**17
"""Numbers of a weight that stay in the cache while a block of rows goes through them."""


class Lists:
    """Which units each row needs, in ascending order, in memory that the kernels share: room for `room` entries."""

    def __init__(self, rows: int, room: int, count: int):
        self.rows, self.room, self.count = rows, room, count
        self.chosen = -(-room // rows) if rows else 0
        self.space = torch.empty(2 * (rows + room), dtype=torch.int64)

    @classmethod
    def of_index(cls, index: Tensor, count: int) -> "Lists":
        """The lists of an index (N, K). Raises: IndexError for an index that is not from -1 to count - 1."""
        lists = cls(len(index), index.numel(), count)
        lists.act(INDEX, index=index)
        return lists

    def turned(self) -> "Lists":
        """Which rows need each unit."""
        lists = Lists(self.count, self.room, self.rows)
        _turn(1, self.space.data_ptr(), self.rows, self.room, lists.space.data_ptr(), self.count)
        return lists

    def dots(self, x: Tensor, weight: Tensor, bias: Tensor | None, values: Tensor, rectified: bool = False) -> Tensor:
        """Puts the product of row and unit at each entry's place of `values`; x (N, d), weight (H, d)."""
        self.act(DOTS, values, x=x, first=(weight, bias), rectified=rectified)
        return values

    def sums(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The sum of each row's units' rows of the weight (H, o), times its values -> (N, o)."""
        out = weight.new_empty(self.rows, weight.shape[1])
        self.act(SUMS, values, out=out, second=(weight, bias))
        return out

    def act(
        self,
        steps: int,
        values: Tensor | None = None,
        index: Tensor | None = None,
        x: Tensor | None = None,
        first: tuple[Tensor | None, Tensor | None] = NOTHING,
        out: Tensor | None = None,
        second: tuple[Tensor | None, Tensor | None] = NOTHING,
        rectified: bool = False,
    ) -> None:
        """Runs some steps of the kernel, on blocks of rows, or one step on shares of the units or columns."""
        rows, count, chosen = self.rows, self.count, self.chosen
        width, out_width = 0 if x is None else x.shape[1], 0 if out is None else out.shape[1]
        threads = threads_for(self.room * (width + out_width))
        shares = threads if steps in (DOTS, SUMS) and rows < BLOCK * threads else 1
        block = rows if steps == INDEX else max(1, min(BLOCK, -(-rows * shares // threads)))
        pieces = -(-rows // block) * shares if rows else 0
        shift = half_of_bits(count)
        sorting = (2 * chosen + (1 << shift)) * pieces if steps & INDEX else 0
        spare = torch.empty(shares * rows + sorting, dtype=torch.int64)
        faulty = ctypes.c_int64(0)
        kernel(
            pieces,
            *(steps, rows, block, shares, count, chosen, self.space.data_ptr(), spare.data_ptr(), at(values)),
            *(at(index), shift, spare.data_ptr() + 8 * shares * rows, ctypes.addressof(faulty)),
            *(at(x), width, at(first[0]), at(first[1]), int(rectified), tile(rows, chosen, width, count)),
            *(at(out), out_width, at(second[0]), at(second[1]), tile(rows, chosen, out_width, count)),
            self.room,
            threads=threads,
        )
        if faulty.value and index is not None:
            raise out_of_range(index, count)


def tile(rows: int, chosen: int, width: int, count: int) -> int:
    """How many units a block of rows goes through before the next: what the cache holds, and some of each row's."""
    return max(1, count) if rows == 1 else max(1, TILE // max(1, width), 8 * count // max(1, chosen))


def half_of_bits(count: int) -> int:
    """Half of the bits of the largest unit: lists are sorted in two passes."""
    return max(1, ((count - 1).bit_length() + 1) // 2) if count else 1


def out_of_range(index: Tensor, count: int) -> IndexError:
    return IndexError(
        f"units are numbered from 0 to {count - 1} (-1 is none), not from {index.min()} to {index.max()}."
    )


def at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
