"""A bank of rectified experts on a graphics card: each chosen expert on its own rows, in blocks of one expert each.

    y = Σ_k weight_k (relu(x W1_eᵀ + b1_e) W2_e + b2_e),   e = index_k

The choices are sorted by expert. Every block of rows then belongs to one expert, so each layer is one launch in which a
program multiplies a block of gathered rows with a block of that expert's weights. Sums are in float32; float16,
bfloat16 and float32 come in and go out. float32 is multiplied exactly, unless `torch.set_float32_matmul_precision` allows
TF32. Backward is a few matrix products per expert, by torch.

Symbols: N inputs, K choices of each, E experts, d and o widths of input and output, h hidden width.

Checked in Triton's interpreter against plain torch, and compiled for compute capability 8.0 and 9.0. The interpreter has no
bfloat16 products, so in bfloat16 it was only compiled. It has not run on a graphics card, so nothing is known of its speed.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

COLUMNS, DEPTH = 64, 32
"""Columns of an answer that a program computes, and how much of the inner width it multiplies at once."""


def experts(x: Tensor, index: Tensor, weights: Tensor, *bank: Tensor) -> Tensor:
    """The chosen experts of each input, weighted and summed.

    Shapes: x (N, d), index and weights (N, K), the bank's in_weight (E, h, d), in_bias (E, h), out_weight (E, h, o) and
    out_bias (E, o) -> (N, o). An index of -1 contributes nothing. Can be differentiated once.
    Raises: IndexError for an index that is not from -1 to E - 1.
    """
    require_choices(index, len(bank[0]))
    return _Experts.apply(x, index, weights, *bank)


def require_choices(index: Tensor, count: int) -> None:
    """Raises IndexError unless every index is from -1 to count - 1. Waits for the device."""
    if index.numel() and bool(((index < -1) | (index >= count)).any()):
        raise IndexError(f"an index is from -1 to {count - 1}, but they go from {index.min()} to {index.max()}.")


class Plan(NamedTuple):
    """Choices sorted by what they chose, in blocks of one choice each. Made without waiting for the device."""

    order: Tensor
    """(N·K,) The choices' own places, those of -1 last."""
    starts: Tensor
    """(E + 1,) Where each expert's choices begin in that order, and where the last one's end."""
    expert: Tensor
    """(blocks,) Whose block it is; E for one that is not needed."""
    first: Tensor
    """(blocks,) Where a block begins in that order."""
    height: int
    """Most choices of a block."""


def sorted_by_choice(index: Tensor, count: int) -> Plan:
    """A plan for indices (...) from -1 to count - 1."""
    flat = index.flatten()
    chosen, order = torch.where(flat < 0, count, flat).sort(stable=True)
    numbers = torch.arange(count + 1, device=index.device)
    starts = torch.searchsorted(chosen, numbers)
    height = 16 if len(flat) <= 32 * count else 32 if len(flat) <= 64 * count else 64
    blocks = (starts.diff() + height - 1) // height
    behind = blocks.cumsum(0)
    most = -(-len(flat) // height) + min(count, len(flat))
    block = torch.arange(most, device=index.device)
    expert = torch.searchsorted(behind, block, right=True)
    own = expert.clamp_max(count - 1)
    first = starts[own] + (block - behind[own] + blocks[own]) * height
    return Plan(order, starts, expert, first, height)


@triton.jit
def block_of(order, starts, expert, first, choices, HEIGHT: tl.constexpr):
    """The expert of this program's block, its places in the order, which of them count, and their rows."""
    block = tl.program_id(0)
    one = tl.load(expert + block)
    places = tl.load(first + block) + tl.arange(0, HEIGHT)
    inside = places < tl.load(starts + one + 1)
    choice = tl.load(order + places, mask=inside, other=0)
    return one, places, inside, choice, choice // choices


@triton.jit
def _first_layer(
    x, order, starts, expert, first, weight, bias, hidden, count, choices, width, inner,
    HEIGHT: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """hidden[place] = relu(x[row] W1ᵀ + b1), in sorted order."""
    if tl.load(expert + tl.program_id(0)) >= count:
        return
    one, places, inside, _, rows = block_of(order, starts, expert, first, choices, HEIGHT)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    fits = columns < inner
    total = tl.zeros((HEIGHT, COLUMNS), tl.float32)
    for start in range(0, width, DEPTH):
        depths = start + tl.arange(0, DEPTH)
        there = depths < width
        left = tl.load(x + rows[:, None] * width + depths[None, :], mask=inside[:, None] & there[None, :], other=0.0)
        at = weight + (one * inner + columns[None, :]) * width + depths[:, None]
        right = tl.load(at, mask=there[:, None] & fits[None, :], other=0.0)
        total = tl.dot(left, right, total, input_precision=PRECISION)
    total += tl.load(bias + one * inner + columns, mask=fits, other=0.0).to(tl.float32)[None, :]
    total = tl.where(total < 0, 0.0, total)  # NaN stays
    at = hidden + places[:, None] * inner + columns[None, :]
    tl.store(at, total.to(hidden.dtype.element_ty), mask=inside[:, None] & fits[None, :])


@triton.jit
def _second_layer(
    hidden, order, starts, expert, first, weight, bias, shares, parts, count, inner, width,
    HEIGHT: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """parts[choice] = share (hidden[place] W2 + b2)."""
    if tl.load(expert + tl.program_id(0)) >= count:
        return
    one, places, inside, choice, _ = block_of(order, starts, expert, first, 1, HEIGHT)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    fits = columns < width
    total = tl.zeros((HEIGHT, COLUMNS), tl.float32)
    for start in range(0, inner, DEPTH):
        depths = start + tl.arange(0, DEPTH)
        there = depths < inner
        at = hidden + places[:, None] * inner + depths[None, :]
        left = tl.load(at, mask=inside[:, None] & there[None, :], other=0.0)
        at = weight + (one * inner + depths[:, None]) * width + columns[None, :]
        right = tl.load(at, mask=there[:, None] & fits[None, :], other=0.0)
        total = tl.dot(left, right, total, input_precision=PRECISION)
    total += tl.load(bias + one * width + columns, mask=fits, other=0.0).to(tl.float32)[None, :]
    total *= tl.load(shares + choice, mask=inside, other=0.0).to(tl.float32)[:, None]
    at = parts + choice[:, None] * width + columns[None, :]
    tl.store(at, total.to(parts.dtype.element_ty), mask=inside[:, None] & fits[None, :])


@triton.jit
def _combine(parts, index, out, choices, width, COLUMNS: tl.constexpr):
    """The parts of each input added up in their order; what was not chosen is left out."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    for choice in range(choices):
        place = row * choices + choice
        if tl.load(index + place) >= 0:
            total += tl.load(parts + place * width + columns, mask=columns < width, other=0.0).to(tl.float32)
    tl.store(out + row * width + columns, total.to(out.dtype.element_ty), mask=columns < width)


def precision() -> str:
    """How float32 is multiplied: exactly, unless torch was told otherwise."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def through_both_layers(x: Tensor, index: Tensor, shares: Tensor, bank: tuple[Tensor, ...], kind: torch.dtype):
    """The answer (N, o) of that type, the hidden units of each choice in sorted order (N·K, h), and the plan.

    Everything is contiguous and all indices are choices.
    """
    w1, b1, w2, b2 = bank
    (count, inner, width), out_width, (rows, choices) = w1.shape, w2.shape[-1], index.shape
    plan = sorted_by_choice(index, count)
    hidden = x.new_empty(rows * choices, inner)
    out = torch.empty(rows, out_width, dtype=kind, device=x.device)
    if not out.numel():
        return out, hidden, plan
    if not choices:
        return out.zero_(), hidden, plan
    parts, sizes = torch.empty(rows * choices, out_width, dtype=kind, device=x.device), (COLUMNS, DEPTH, precision())
    blocks, lists = len(plan.expert), (plan.order, plan.starts, plan.expert, plan.first)
    _first_layer[(blocks, triton.cdiv(inner, COLUMNS))](
        x, *lists, w1, b1, hidden, count, choices, width, inner, plan.height, *sizes
    )
    _second_layer[(blocks, triton.cdiv(out_width, COLUMNS))](
        hidden, *lists, w2, b2, shares, parts, count, inner, out_width, plan.height, *sizes
    )
    _combine[(rows, triton.cdiv(out_width, 256))](parts, index, out, choices, out_width, 256)
    return out, hidden, plan


class _Experts(torch.autograd.Function):
    """What autograd knows of it."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, weights: Tensor, *bank: Tensor) -> Tensor:
        x, index, weights, *bank = (tensor.contiguous() for tensor in (x, index, weights, *bank))
        kind = torch.promote_types(x.dtype, weights.dtype)
        out, hidden, plan = through_both_layers(x, index, weights, tuple(bank), kind)
        ctx.save_for_backward(x, index, weights, *bank, hidden, plan.order, plan.starts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, index, weights, w1, b1, w2, b2, hidden, order, starts = ctx.saved_tensors
        bounds, choices = starts.tolist(), index.shape[1]
        order = order[: bounds[-1]]
        row, share = order // max(1, choices), weights.flatten()[order].unsqueeze(-1).to(x.dtype)
        given, wanted = x[row], gradient.to(x.dtype)[row]
        into_share = torch.zeros_like(weights).flatten()
        into_x = x.new_zeros(index.numel(), x.shape[1])
        into_bank = [torch.zeros_like(part) for part in (w1, b1, w2, b2)]
        for expert, (start, stop) in enumerate(pairwise(bounds)):
            if start == stop:
                continue
            own, units, rows, asked = order[start:stop], hidden[start:stop], given[start:stop], wanted[start:stop]
            back = asked @ w2[expert].T
            into_share[own] = ((back * units).sum(-1) + asked @ b2[expert]).to(weights.dtype)
            asked, back = asked * share[start:stop], back * share[start:stop]
            back = back.masked_fill(units <= 0, 0)
            into_bank[0][expert], into_bank[1][expert] = back.T @ rows, back.sum(0)
            into_bank[2][expert], into_bank[3][expert] = units.T @ asked, asked.sum(0)
            into_x[own] = back @ w1[expert]
        into_x = into_x.unflatten(0, index.shape).sum(1)
        return into_x, None, into_share.view_as(weights), *into_bank
