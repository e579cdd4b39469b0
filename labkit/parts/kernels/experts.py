"""A bank of rectified experts in compiled code: what `Experts` computes for a hard routing in float32.

    y = Σ_k weight_k (relu(x W1_eᵀ + b1_e) W2_e + b2_e),   e = index_k

Symbols: N inputs, K choices of each, E experts, d and o widths of input and output, h hidden width.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.kernels.cpu.expert_sizes import BLOCK, CHUNK, COMBINED, LINES, STRIP
from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.expert_plan import Plan, out_of_range, padded_to, plan_length, room, scratch_sizes
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.kernels.fresh import fresh

_forward, _combine, _few = Kernel("experts", "forward"), Kernel("experts", "combine"), Kernel("experts", "few")
_backward_rows = Kernel("expert_gradients", "backward_rows")
_backward_weights = Kernel("expert_gradients", "backward_weights")


FEW = 8
"""Choices at most that are computed one after the other."""


def experts(x: Tensor, index: Tensor, weights: Tensor, *bank: Tensor) -> Tensor:
    """The chosen experts of each input, weighted and summed.

    Shapes: x (N, d), index and weights (N, K), the bank's in_weight (E, h, d), in_bias (E, h), out_weight (E, h, o) and
    out_bias (E, o) -> (N, o). An index of -1 contributes nothing.
    Raises: IndexError for an index that is not from -1 to E - 1.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, weights, *bank)):
        return _learn(x, index, weights, *bank)[0]
    return _answer(x, index, weights, *bank)


def _compute(x: Tensor, index: Tensor, weights: Tensor, bank: tuple[Tensor, ...], keep: bool):
    """The answer, the hidden units of each choice in sorted order (if they are to be kept), and the plan."""
    x, index, weights = x.contiguous(), index.long().contiguous(), weights.contiguous()
    w1, b1, w2, b2 = (part.contiguous() for part in bank)
    count, inner, width = w1.shape
    _require(x, index, weights, w1, b1, w2, b2)
    outer, padded = w2.shape[-1], padded_to(inner)
    plan = Plan(index, count)
    threads = threads_for(plan.many * inner * (width + outer))
    single = plan.choices == 1
    many = 0 if single else plan.many * outer
    parts, hidden = room(many, 0 if keep else threads * BLOCK * padded)
    if keep:
        hidden = torch.empty(plan.many, padded)
    if single:
        parts = plan.empty(len(x), outer)
    _forward(
        plan.blocks,
        plan.address,
        plan.order,
        plan.choices,
        x.data_ptr(),
        w1.data_ptr(),
        b1.data_ptr(),
        w2.data_ptr(),
        b2.data_ptr(),
        weights.data_ptr(),
        hidden.data_ptr(),
        keep,
        parts.data_ptr(),
        width,
        inner,
        padded,
        outer,
        threads=threads,
    )
    return (parts if single else _sum(index, parts, outer, threads)), hidden, plan.plan


def _require(x: Tensor, index: Tensor, weights: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> None:
    """Compiled code does not look where it reads, so the sizes are looked at here."""
    count, inner, width = w1.shape
    fits = x.shape == (len(index), width) and index.shape == weights.shape and index.is_cpu
    if not fits or b1.shape != (count, inner) or w2.shape[:2] != (count, inner) or b2.shape != (count, w2.shape[-1]):
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, index, weights, w1, b1, w2, b2))
        raise ValueError(f"a bank of experts does not fit its inputs, indices, weights or itself: {shapes}.")


def _sum(index: Tensor, parts: Tensor, width: int, threads: int) -> Tensor:
    """The choices of each input added up, in their order; what was not chosen is left out. (N·K·width) -> (N, width)."""
    inputs, choices = index.shape
    out = torch.empty(inputs, width)
    pieces = -(-inputs // COMBINED)
    addresses = index.data_ptr(), parts.data_ptr(), out.data_ptr()
    _combine(pieces, *addresses, inputs, choices, width, threads=threads)
    return out


def _one_by_one(x: Tensor, index: Tensor, weights: Tensor, *bank: Tensor) -> Tensor:
    """For so few choices that to sort them takes longer than to read a weight twice."""
    x, index, weights = x.contiguous(), index.long().contiguous(), weights.contiguous()
    w1, b1, w2, b2 = (part.contiguous() for part in bank)
    (count, inner, width), outer = w1.shape, w2.shape[2]
    _require(x, index, weights, w1, b1, w2, b2)
    out, space, faulty = torch.empty(len(x), outer), torch.empty(inner + outer), ctypes.c_int64(0)
    _few(
        1,
        *(index.data_ptr(), *index.shape, x.data_ptr(), w1.data_ptr(), b1.data_ptr(), w2.data_ptr(), b2.data_ptr()),
        *(weights.data_ptr(), space.data_ptr(), out.data_ptr(), ctypes.addressof(faulty), count, width, inner, outer),
    )
    if faulty.value:
        raise out_of_range(count)
    return out


def _inference(x: Tensor, index: Tensor, weights: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    if index.numel() <= FEW and threads_for(index.numel() * w1.shape[1] * (w1.shape[2] + w2.shape[2])) == 1:
        return _one_by_one(x, index, weights, w1, b1, w2, b2)
    return _compute(x, index, weights, (w1, b1, w2, b2), keep=False)[0]


def _learning(
    x: Tensor, index: Tensor, weights: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _compute(x, index, weights, (w1, b1, w2, b2), keep=True)


def _inference_shapes(x, index, weights, w1, b1, w2, b2):
    return x.new_empty(len(x), w2.shape[-1])


def _learning_shapes(x, index, weights, w1, b1, w2, b2):
    plan = index.new_empty(plan_length(index.numel(), len(w1)))
    return x.new_empty(len(x), w2.shape[-1]), x.new_empty(index.numel(), padded_to(w1.shape[1])), plan


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    _, hidden, plan = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, hidden, plan)


def _backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 7
    needed = ctx.needs_input_grad
    wanted = needed[0], needed[3] or needed[4], needed[5] or needed[6]
    x, weights, *bank = _slopes(gradient, *ctx.saved_tensors, *wanted)
    found = x, None, weights, *bank
    return tuple(one if need else None for one, need in zip(found, needed, strict=True))


def _compute_slopes(
    gradient: Tensor,
    x: Tensor,
    index: Tensor,
    weights: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    hidden: Tensor,
    plan: Tensor,
    for_x: bool,
    for_first: bool,
    for_second: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, the routing's weights and the bank; empty ones of what is not wanted."""
    gradient, x, index, weights = gradient.contiguous(), x.contiguous(), index.contiguous(), weights.contiguous()
    w1, w2, b2, nothing = w1.contiguous(), w2.contiguous(), b2.contiguous(), x.new_empty(0)
    count, inner, width = w1.shape
    outer, padded = w2.shape[-1], hidden.shape[-1]
    known = Plan(index, count, plan)
    threads = threads_for(known.many * inner * (width + outer))
    place, sizes = scratch_sizes(outer, inner, width)
    single, most = known.choices == 1, max(place, CHUNK * (STRIP + LINES))
    many = 0 if single or not for_x else known.many * width
    scratch, slopes, parts = room(threads * most, hidden.numel(), many)
    weight_slopes = known.empty(*weights.shape)
    if single and for_x:
        parts = known.empty(known.many, width)
    known.slots()
    _backward_rows(
        known.blocks,
        known.address,
        known.order,
        known.choices,
        gradient.data_ptr(),
        w1.data_ptr(),
        w2.data_ptr(),
        b2.data_ptr(),
        weights.data_ptr(),
        hidden.data_ptr(),
        slopes.data_ptr(),
        weight_slopes.data_ptr(),
        scratch.data_ptr(),
        parts.data_ptr() if for_x else 0,
        width,
        inner,
        padded,
        outer,
        place,
        *sizes,
        threads=threads,
    )
    x_slopes = nothing
    if for_x:
        x_slopes = parts if single else _sum(index, parts, width, threads)

    def layer(rows: Tensor, units: Tensor, like: Tensor, weighted: bool) -> tuple[Tensor, Tensor]:
        wide = like.shape[-1]
        slope, bias_slope = fresh(*like.shape), torch.empty(count, wide if weighted else inner)
        strips = -(-wide // STRIP)
        known.slots()
        _backward_weights(
            count * strips,
            known.address,
            known.starts,
            known.order,
            known.choices,
            rows.data_ptr(),
            units.data_ptr(),
            weights.data_ptr(),
            weighted,
            slope.data_ptr(),
            bias_slope.data_ptr(),
            scratch.data_ptr(),
            wide,
            inner,
            padded,
            strips,
            threads=threads,
        )
        return slope, bias_slope

    first = layer(x, slopes, w1, False) if for_first else (nothing, nothing.clone())
    second = layer(gradient, hidden, w2, True) if for_second else (nothing.clone(), nothing.clone())
    return x_slopes, weight_slopes, *first, *second


def _slope_shapes(gradient, x, index, weights, w1, b1, w2, b2, hidden, plan, for_x, for_first, for_second):
    wanted = (x, for_x), (weights, True), (w1, for_first), (b1, for_first), (w2, for_second), (b2, for_second)
    return tuple(like.new_empty(like.shape if want else 0) for like, want in wanted)


_slopes = Operation("experts_gradients", _compute_slopes, _slope_shapes)
_answer = Operation("experts", _inference, _inference_shapes)
_learn = Operation("experts_learning", _learning, _learning_shapes, _backward, _keep)


def plain(x: Tensor, index: Tensor, weights: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """The same in plain torch: each chosen expert once on its own rows."""
    out = x.new_zeros(len(x), w2.shape[-1])
    for expert, (in_weight, in_bias, out_weight, out_bias) in enumerate(
        zip(w1.unbind(), b1.unbind(), w2.unbind(), b2.unbind(), strict=True)
    ):
        row, choice = (index == expert).nonzero(as_tuple=True)
        said = torch.addmm(out_bias, F.relu(F.linear(x[row], in_weight, in_bias)), out_weight)
        out = out.index_add(0, row, said * weights[row, choice].unsqueeze(-1))
    return out


_learn.plain = lambda *given: (plain(*given), torch.empty(0), torch.empty(0))


def _drawn(seed: int) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    inputs = (1, 0, 37, 700, 7)[seed % 5]
    choices, count = ((1, 3), (2, 5), (1, 2), (3, 4), (2, 17))[seed % 5]
    width, inner, outer = ((5, 3, 7), (16, 16, 16), (33, 50, 130), (40, 19, 32), (256, 70, 64))[seed % 5]
    index = torch.stack(
        [torch.randperm(count, generator=draw)[:choices] for _ in range(inputs)] or [torch.empty(choices)]
    )
    index = index[:inputs].long()
    index[torch.rand(index.shape, generator=draw) < (0.1 if seed % 2 else 0)] = -1

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    weights = normal(inputs, choices).softmax(-1) * (index >= 0)
    into, out = normal(count, inner, width) / width**0.5, normal(count, inner, outer) / inner**0.5
    bank = into, normal(count, inner), out, normal(count, outer)
    return normal(inputs, width), index, weights, *bank


fast_paths = (FastPath(experts, plain, _drawn, learns=True),)
