"""Trees on a graphics card: the hard way down, and the small network at its end.

On the way down a program takes a few rows from the root to the bottom: at each level it reads only the node that each
row stands at. The rows are then sorted by leaf, and a program takes a block of rows of one leaf through both of its
layers; the leaf's few hidden units stay in registers in between. Sums are in float32; float16, bfloat16 and float32 come
in and go out. A score is rounded to the type of the inputs before its sign is read, as in plain torch.

Checked in Triton's interpreter against plain torch, and compiled for compute capability 8.0 and 9.0. The interpreter has no
bfloat16 products, so leaves in bfloat16 were only compiled. It has not run on a graphics card, so nothing is known of its
speed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from labkit.parts.kernels.cuda.experts import (
    Plan,
    block_of,
    precision,
    require_choices,
    sorted_by_choice,
    through_both_layers,
)

ROWS, WIDTH = 16, 128
"""Rows that a program takes down a tree, and how much of their width at once."""
REGISTERS = 64
"""Hidden units of a leaf that are kept for its second layer; a larger leaf is run as an expert is. With 128 of float32 a
program would need more shared memory than a card of compute capability 8.6 has."""
COLUMNS, DEPTH, ENOUGH = 64, 32, 256
"""Columns of the answer at once, inner width at once; blocks from which one program computes all columns of its block."""


@triton.jit
def _down(
    x, weight, bias, nodes_to, scores_to, ends, rows, width, nodes, depth, trees,
    KEEP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    tree = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    place = tl.zeros((ROWS,), tl.int64)
    node = tl.zeros((ROWS,), tl.int64)
    for level in range(depth):
        at = tree * nodes + node
        total = tl.zeros((ROWS, WIDTH), tl.float32)
        for start in range(0, width, WIDTH):
            columns = start + tl.arange(0, WIDTH)
            there = inside[:, None] & (columns < width)[None, :]
            value = tl.load(x + row[:, None] * width + columns[None, :], mask=there, other=0.0)
            factor = tl.load(weight + at[:, None] * width + columns[None, :], mask=there, other=0.0)
            total += value.to(tl.float32) * factor.to(tl.float32)
        score = tl.sum(total, 1) + tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
        score = score.to(x.dtype.element_ty)
        if KEEP:
            step = (row * trees + tree) * depth + level
            tl.store(nodes_to + step, node, mask=inside)
            tl.store(scores_to + step, score, mask=inside)
        right = (score.to(tl.float32) >= 0).to(tl.int64)
        place = 2 * place + right
        node = 2 * node + 1 + right
    tl.store(ends + row * trees + tree, place, mask=inside)


@triton.jit
def _leaves(
    x, order, starts, expert, first, w1, b1, w2, b2, out, count, width, inner, out_width, span,
    HEIGHT: tl.constexpr, INNER: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    if tl.load(expert + tl.program_id(0)) >= count:
        return
    leaf, _, inside, _, rows = block_of(order, starts, expert, first, 1, HEIGHT)
    units = tl.arange(0, INNER)
    known = units < inner
    hidden = tl.zeros((HEIGHT, INNER), tl.float32)
    for start in range(0, width, DEPTH):
        depths = start + tl.arange(0, DEPTH)
        there = depths < width
        left = tl.load(x + rows[:, None] * width + depths[None, :], mask=inside[:, None] & there[None, :], other=0.0)
        at = w1 + (leaf * inner + units[None, :]) * width + depths[:, None]
        right = tl.load(at, mask=there[:, None] & known[None, :], other=0.0)
        hidden = tl.dot(left, right, hidden, input_precision=PRECISION)
    hidden += tl.load(b1 + leaf * inner + units, mask=known, other=0.0).to(tl.float32)[None, :]
    hidden = tl.where(hidden < 0, 0.0, hidden)  # NaN stays
    kept = hidden.to(x.dtype.element_ty)
    from_, to = tl.program_id(1) * span, tl.minimum(out_width, (tl.program_id(1) + 1) * span)
    for start in range(from_, to, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        fits = columns < to
        at = w2 + (leaf * inner + units[:, None]) * out_width + columns[None, :]
        right = tl.load(at, mask=known[:, None] & fits[None, :], other=0.0)
        said = tl.dot(kept, right, tl.zeros((HEIGHT, COLUMNS), tl.float32), input_precision=PRECISION)
        said += tl.load(b2 + leaf * out_width + columns, mask=fits, other=0.0).to(tl.float32)[None, :]
        at = out + rows[:, None] * out_width + columns[None, :]
        tl.store(at, said.to(out.dtype.element_ty), mask=inside[:, None] & fits[None, :])


def way_down(x: Tensor, weight: Tensor, bias: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """`parts.tree.descend` without gradients: nodes met, their scores, and where each row ends.

    Shapes: x (..., width), weight (trees, nodes, width), bias (trees, nodes) -> nodes and scores (..., trees, depth),
    ends (..., trees).
    """
    trees, lead = len(weight), x.shape[:-1]
    nodes = torch.empty(*lead, trees, depth, dtype=torch.int64, device=x.device)
    scores = x.new_empty(nodes.shape)
    return nodes, scores, _ends(x, weight, bias, depth, nodes, scores)


def hard_leaves(x: Tensor, index: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Each row through the small network that its index names; zeros where it is -1.

    Shapes: x (..., width), index (...), w1 (leaves, hidden, width), b1 (leaves, hidden), w2 (leaves, hidden, out),
    b2 (leaves, out) -> (..., out). Raises: IndexError.
    """
    require_choices(index, len(w1))
    return _through_leaves(x, index, w1, b1, w2, b2)


def hard_tree(
    x: Tensor, node_weight: Tensor, node_bias: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """Each row down the tree and through the leaf where it ends.

    Shapes: node_weight (nodes, width), node_bias (nodes,), the rest as in `hard_leaves` -> (..., out).
    """
    depth = len(w1).bit_length() - 1
    ends = _ends(x, node_weight.unsqueeze(0), node_bias.unsqueeze(0), depth, None, None)
    return _through_leaves(x, ends.squeeze(-1), w1, b1, w2, b2)


def _ends(x: Tensor, weight: Tensor, bias: Tensor, depth: int, nodes: Tensor | None, scores: Tensor | None) -> Tensor:
    trees, count, width = weight.shape
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    ends, rows = torch.empty(*x.shape[:-1], trees, dtype=torch.int64, device=x.device), x.shape[:-1].numel()
    if not ends.numel() or not depth:
        return ends.zero_()
    keep = nodes is not None
    given = x, weight, bias, nodes if keep else ends, scores if keep else x, ends
    _down[(triton.cdiv(rows, ROWS), trees)](*given, rows, width, count, depth, trees, keep, ROWS, WIDTH)
    return ends


def _through_leaves(x: Tensor, index: Tensor, *bank: Tensor) -> Tensor:
    w1, b1, w2, b2 = (part.contiguous() for part in bank)
    (count, inner, width), out_width, x = w1.shape, w2.shape[-1], x.contiguous()
    index = index.contiguous()
    rows = index.numel()
    out = x.new_zeros(*index.shape, out_width)
    if not out.numel():
        return out
    if inner > REGISTERS:
        one = x.new_ones(rows)
        said, _, _ = through_both_layers(x.view(rows, width), index.view(rows, 1), one, (w1, b1, w2, b2), x.dtype)
        return said.view_as(out)
    plan: Plan = sorted_by_choice(index, count)
    blocks = len(plan.expert)
    span = out_width if blocks >= ENOUGH else 2 * COLUMNS
    _leaves[(blocks, triton.cdiv(out_width, span))](
        *(x, plan.order, plan.starts, plan.expert, plan.first, w1, b1, w2, b2, out),
        *(count, width, inner, out_width, span),
        *(plan.height, max(16, triton.next_power_of_2(inner)), COLUMNS, DEPTH, precision()),
    )
    return out
