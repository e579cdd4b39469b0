"""Fast path of weighted sums of rows of a large table: what memories read, and how their tables learn.

Backward, reads are sorted by slot: each row of the table is then read once, and its gradient written once and in order,
zeros included. The gradient of 512 x 512 slots of width 512 is a tensor of half a gigabyte; to get that much fresh memory
takes the system a good part of the time, which is what a sparse gradient saves.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.kernels.fresh import fresh

_sums, _sort, _slopes = (Kernel("weighted_rows", name) for name in ("sums", "sort", "slopes"))


def _compute(table: Tensor, index: Tensor, weights: Tensor, sparse: bool) -> Tensor:
    (inputs, reads), (slots, width) = index.shape, table.shape
    if index.numel():
        lowest, highest = torch.aminmax(index)
        if highest >= slots or lowest < -1:
            raise IndexError(f"A table of {slots} rows has no row {int(highest if highest >= slots else lowest)}.")
    table, index, weights = table.contiguous(), index.contiguous(), weights.contiguous()
    out = table.new_empty(inputs, width)
    if out.numel():
        threads = threads_for(float(inputs) * reads * width)
        _sums(
            min(inputs, 8 * threads), table.data_ptr(), width, index.data_ptr(), weights.data_ptr(), inputs, reads,
            out.data_ptr(), threads=threads,
        )  # fmt: skip
    return out


def _shapes(table: Tensor, index: Tensor, weights: Tensor, sparse: bool) -> Tensor:
    return table.new_empty(index.shape[0], table.shape[1])


def _keep(ctx: Any, inputs: tuple, output: Tensor) -> None:
    table, index, weights, ctx.sparse = inputs
    ctx.save_for_backward(table, index, weights)


def _backward(ctx: Any, slope: Tensor) -> tuple:
    table, index, weights = ctx.saved_tensors
    to_table, to_weights = gradients(table, index, weights, slope, ctx.sparse)
    return to_table, None, to_weights, None


def _gradients(table: Tensor, index: Tensor, weights: Tensor, slope: Tensor, sparse: bool) -> tuple[Tensor, Tensor]:
    reads, (slots, width) = index.shape[1], table.shape
    rows, index, weights, slope = (one.contiguous() for one in (table, index, weights, slope))
    counts, order = torch.zeros(slots, dtype=torch.int32), torch.empty(index.numel(), dtype=torch.int32)
    room = min(slots, index.numel()) + 1
    used, starts = torch.empty(room, dtype=torch.int64), torch.empty(room, dtype=torch.int32)
    found = torch.empty(1, dtype=torch.int64)
    _sort(
        1, index.data_ptr(), index.numel(), slots, counts.data_ptr(), order.data_ptr(), used.data_ptr(),
        starts.data_ptr(), found.data_ptr(),
    )  # fmt: skip
    many, to_weights = int(found), torch.zeros_like(weights)
    to_table = fresh(many, width) if sparse else fresh(*table.shape)
    threads = threads_for(float(index.numel()) * width + to_table.numel())
    _slopes(
        min(many + 1, 16 * threads), rows.data_ptr(), width, weights.data_ptr(), reads, slope.data_ptr(),
        order.data_ptr(), used.data_ptr(), starts.data_ptr(), many, int(not sparse), to_table.data_ptr(),
        to_weights.data_ptr(), threads=threads,
    )  # fmt: skip
    if sparse:
        place = used[:many].unsqueeze(0)
        to_table = torch.sparse_coo_tensor(place, to_table, table.shape, is_coalesced=True, check_invariants=False)
    return to_table, to_weights


def _gradient_shapes(table: Tensor, index: Tensor, weights: Tensor, slope: Tensor, sparse: bool) -> tuple:
    return table.new_empty(table.shape), weights.new_empty(weights.shape)


weighted_rows = Operation("weighted_rows", _compute, _shapes, _backward, _keep)
gradients = Operation("weighted_rows_gradients", _gradients, _gradient_shapes)


def plain(table: Tensor, index: Tensor, weights: Tensor, sparse: bool = False) -> Tensor:
    """The same in plain torch; where the index is -1 nothing is read."""
    read, weights = index.clamp_min(0), weights * (index >= 0)
    return F.embedding_bag(read, table, per_sample_weights=weights, mode="sum", sparse=sparse)


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor, bool]:
    draw = torch.Generator().manual_seed(seed)
    slots, width, inputs, reads = ((9, 7, 1, 3), (4, 16, 0, 2), (300, 33, 40, 13), (50, 96, 70, 8), (3, 1, 5, 30))[
        seed % 5
    ]
    index = torch.randint(-1, slots, (inputs, reads), generator=draw)
    return torch.randn(slots, width, generator=draw), index, torch.randn(inputs, reads, generator=draw), False


def _gathered(table: Tensor, index: Tensor, weights: Tensor, sparse: bool = False) -> Tensor:
    """The same with every row copied, which can be differentiated twice."""
    return torch.einsum("ir,irw->iw", weights * (index >= 0), table[index.clamp_min(0)])


fast_paths = (FastPath(weighted_rows, _gathered, _drawn, learns=True),)
