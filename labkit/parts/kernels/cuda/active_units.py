"""A two-layer network on a graphics card of which each row needs some hidden units only.

    y = Σ_{u chosen} φ(w1_u · x + b1_u) w2_u + b2,      φ the rectifier or nothing

One launch computes what the chosen units of each row say, a second one adds up their rows of the second weight; only the
chosen rows of both weights are read. Sums are in float32 and what the units say stays in it in between; float16, bfloat16
and float32 come in and go out. A row's answer does not depend on the rows beside it.

Checked in Triton's interpreter against plain torch, and compiled for compute capability 8.0 and 9.0. It has not run on a
graphics card, so nothing is known of its speed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from labkit.parts.kernels.cuda.experts import require_choices

UNITS, WIDTH = 16, 128
"""Chosen units, and width of the input or the answer, that a program reads at once."""


@triton.jit
def _say(
    x, index, weight, bias, values, chosen, width,
    BIASED: tl.constexpr, RECTIFIED: tl.constexpr, UNITS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """values[row, k] = φ(w1_u · x + b1_u); 0 where nothing was chosen."""
    row = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    fits = places < chosen
    unit = tl.load(index + row * chosen + places, mask=fits, other=-1)
    real = unit >= 0
    total = tl.zeros((UNITS, WIDTH), tl.float32)
    for start in range(0, width, WIDTH):
        columns = start + tl.arange(0, WIDTH)
        there = columns < width
        value = tl.load(x + row * width + columns, mask=there, other=0.0).to(tl.float32)
        factor = tl.load(
            weight + unit[:, None] * width + columns[None, :], mask=real[:, None] & there[None, :], other=0.0
        )
        total += value[None, :] * factor.to(tl.float32)
    said = tl.sum(total, 1)
    if BIASED:
        said += tl.load(bias + unit, mask=real, other=0.0).to(tl.float32)
    if RECTIFIED:
        said = tl.where(said < 0, 0.0, said)  # NaN stays
    said = tl.where(real, said, 0.0)
    tl.store(values + row * chosen + places, said, mask=fits)


@triton.jit
def _add_up(
    values, index, weight, bias, out, chosen, width,
    BIASED: tl.constexpr, UNITS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """out[row] = Σ_k values[row, k] w2_u + b2."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    there = columns < width
    total = tl.zeros((UNITS, WIDTH), tl.float32)
    for start in range(0, chosen, UNITS):
        places = start + tl.arange(0, UNITS)
        unit = tl.load(index + row * chosen + places, mask=places < chosen, other=-1)
        real = unit >= 0
        value = tl.load(values + row * chosen + places, mask=real, other=0.0)
        factor = tl.load(
            weight + unit[:, None] * width + columns[None, :], mask=real[:, None] & there[None, :], other=0.0
        )
        total += value[:, None] * factor.to(tl.float32)
    answer = tl.sum(total, 0)
    if BIASED:
        answer += tl.load(bias + columns, mask=there, other=0.0).to(tl.float32)
    tl.store(out + row * width + columns, answer.to(out.dtype.element_ty), mask=there)


def feedforward(
    x: Tensor,
    index: Tensor,
    in_weight: Tensor,
    in_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    rectified: bool,
) -> Tensor:
    """Both layers, for evaluation.

    Shapes: x (N, d), index (N, K) with -1 for nothing, in_weight (H, d), in_bias (H,) or None, out_weight (H, o), out_bias
    (o,) or None -> (N, o). Raises: IndexError.
    """
    require_choices(index, len(in_weight))
    x, index, in_weight, out_weight = (part.contiguous() for part in (x, index, in_weight, out_weight))
    (rows, width), chosen, out_width = x.shape, index.shape[1], out_weight.shape[1]
    out = x.new_empty(rows, out_width)
    if not out.numel():
        return out
    values = torch.empty(rows, chosen, dtype=torch.float32, device=x.device)
    if chosen:
        biased = in_bias is not None
        bias = in_bias.contiguous() if biased else in_weight
        _say[(rows, triton.cdiv(chosen, UNITS))](
            x, index, in_weight, bias, values, chosen, width, biased, rectified, UNITS, WIDTH
        )
    biased = out_bias is not None
    bias = out_bias.contiguous() if biased else out_weight
    _add_up[(rows, triton.cdiv(out_width, WIDTH))](
        values, index, out_weight, bias, out, chosen, out_width, biased, UNITS, WIDTH
    )
    return out
