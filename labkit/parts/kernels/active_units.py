"""A two-layer network of which each row needs some hidden units only: their rows of both weights are all that is read.

    y = Σ_{u chosen} φ(w1_u · x + b1_u) w2_u + b2,      φ the rectifier or nothing

Symbols: N rows, K units chosen for each, H hidden units, d and o widths of input and output.

The plain torch that it must equal is in `parts.gathered`. A row's answer does not depend on the rows beside it.
"""

import ctypes

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.kernels.unit_lists import (
    BLOCK,
    DOTS,
    ENTRIES,
    INDEX,
    NONZERO,
    SUMS,
    Lists,
    at,
    half_of_bits,
    kernel,
    out_of_range,
    tile,
)


def _solid(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _forward(
    x: Tensor,
    index: Tensor,
    in_weight: Tensor,
    in_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    rectified: bool,
) -> Tensor:
    (rows, width), chosen, (count, out_width) = x.shape, index.shape[1], out_weight.shape
    x, index, in_weight, out_weight = (
        x.contiguous(),
        index.contiguous(),
        in_weight.contiguous(),
        out_weight.contiguous(),
    )
    in_bias, out_bias = _solid(in_bias), _solid(out_bias)
    threads = threads_for(rows * chosen * (width + out_width))
    if threads > 1 and rows < 16 * threads:
        lists = Lists.of_index(index, count)
        values = lists.dots(x, in_weight, in_bias, x.new_empty(rows, chosen), rectified)
        return lists.sums(values, out_weight, out_bias)
    # one call for all, without the tools above: for one row, what is said in Python takes as long as what is computed
    out, shift, faulty = torch.empty(rows, out_width), half_of_bits(count), ctypes.c_int64(0)
    some = rows if rows * chosen <= ENTRIES else max(1, ENTRIES // chosen)
    block = min(BLOCK, -(-some // threads))
    pieces = -(-some // block) if rows else 0
    room = some * chosen
    space = torch.empty(3 * some + 3 * room + (2 * chosen + (1 << shift)) * pieces, dtype=torch.int64)
    lists = space.data_ptr()
    pointers = lists + 16 * (some + room)
    values = pointers + 8 * some
    for first in range(0, rows, some or 1):
        here = min(some, rows - first)
        kernel(
            -(-here // block),
            *(INDEX | DOTS | SUMS, here, block, 1, count, chosen, lists, pointers, values),
            *(index.data_ptr() + 8 * chosen * first, shift, values + 8 * room, ctypes.addressof(faulty)),
            *(x.data_ptr() + 4 * width * first, width, in_weight.data_ptr(), at(in_bias), int(rectified)),
            tile(rows, chosen, width, count),
            *(out.data_ptr() + 4 * out_width * first, out_width, out_weight.data_ptr(), at(out_bias)),
            *(tile(rows, chosen, out_width, count), here * chosen),
            threads=threads,
        )
        if faulty.value:
            raise out_of_range(index, count)
    return out


feedforward = Operation(
    "active_units",
    _forward,
    lambda x, index, in_weight, in_bias, out_weight, out_bias, rectified: x.new_empty(len(x), out_weight.shape[1]),
)
"""Both layers at once, for evaluation.

Shapes: x (N, d), index (N, K) with -1 for nothing, in_weight (H, d), in_bias (H,) or None, out_weight (H, o), out_bias
(o,) or None -> (N, o). Raises: IndexError.
"""


def _dots_alone(x: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    return Lists.of_index(index.contiguous(), len(weight)).dots(x, weight, _solid(bias), x.new_zeros(index.shape))


def _dots_keep(ctx, inputs, output) -> None:
    x, index, weight, bias = inputs
    ctx.save_for_backward(x, index, weight)
    ctx.biased = bias is not None


def _dots_back(ctx, gradient: Tensor):
    return _through_dots(ctx, gradient, ctx.needs_input_grad)


def _through_dots(ctx, gradient: Tensor, needed: tuple[bool, ...]):
    """The gradients of x, index, weight and bias from that of the products (N, K)."""
    x, index, weight = ctx.saved_tensors
    gradient, lists = gradient.contiguous(), Lists.of_index(index.contiguous(), len(weight))
    into_x = lists.sums(gradient, weight.contiguous(), None) if needed[0] else None
    into_weight = lists.turned().sums(gradient, x.contiguous(), None) if needed[2] else None
    into_bias = None
    if ctx.biased and needed[3]:
        kept = torch.where(index < 0, 0, gradient).flatten()
        into_bias = weight.new_zeros(len(weight)).index_add_(0, index.clamp_min(0).flatten(), kept)
    return into_x, None, into_weight, into_bias


chosen_dots = Operation(
    "chosen_dots", _dots_alone, lambda x, index, weight, bias: x.new_empty(index.shape), _dots_back, _dots_keep
)
"""The products of each row with the rows of a weight that it chose, 0 where it chose nothing.

Shapes: x (N, d), index (N, K), weight (H, d), bias (H,) or None -> (N, K). Raises: IndexError.
"""


def _sums_alone(values: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return Lists.of_index(index.contiguous(), len(weight)).sums(values.contiguous(), weight.contiguous(), _solid(bias))


def _sums_keep(ctx, inputs, output) -> None:
    values, index, weight, bias = inputs
    ctx.save_for_backward(values, index, weight)
    ctx.biased = bias is not None


def _sums_back(ctx, gradient: Tensor):
    values, index, weight = ctx.saved_tensors
    needed, values, gradient = ctx.needs_input_grad, values.contiguous(), gradient.contiguous()
    lists = Lists.of_index(index.contiguous(), len(weight))
    into_values = lists.dots(gradient, weight.contiguous(), None, torch.zeros_like(values)) if needed[0] else None
    into_weight = lists.turned().sums(values, gradient, None) if needed[2] else None
    return into_values, None, into_weight, gradient.sum(0) if ctx.biased and needed[3] else None


chosen_sums = Operation(
    "chosen_sums",
    _sums_alone,
    lambda values, index, weight, bias: values.new_empty(len(values), weight.shape[1]),
    _sums_back,
    _sums_keep,
)
"""The sum of the rows of a weight that each row chose, times its values.

Shapes: values and index (N, K), weight (H, o), bias (o,) or None -> (N, o). Raises: IndexError.
"""


def _recall(known: Tensor, x: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.where(index < 0, 0, known.gather(1, index.clamp_min(0)))


def _recall_keep(ctx, inputs, output) -> None:
    _dots_keep(ctx, inputs[1:], output)


def _recall_back(ctx, gradient: Tensor):
    return None, *_through_dots(ctx, gradient, ctx.needs_input_grad[1:])


recalled = Operation(
    "recalled",
    _recall,
    lambda known, x, index, weight, bias: x.new_empty(index.shape),
    _recall_back,
    _recall_keep,
)
"""`chosen_dots` where all the products (N, H) are known: they are looked up, and the gradients take the short way."""


def _rows_product(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    values, weight, bias = values.contiguous(), weight.contiguous(), _solid(bias)
    (rows, count), most = values.shape, max(1, ENTRIES // max(1, len(weight)))
    out = torch.empty(rows, weight.shape[1])
    for first in range(0, rows, most):
        some, into = values[first : first + most], out[first : first + most]
        Lists(len(some), some.numel(), count).act(NONZERO | SUMS, some, out=into, second=(weight, bias))
    return out


rows_product = Operation(
    "rows_product", _rows_product, lambda values, weight, bias: values.new_empty(len(values), weight.shape[1])
)
"""values @ weight + bias that reads only the rows of the weight of values that are not 0, for evaluation.

Shapes: values (N, H), weight (H, o), bias (o,) or None -> (N, o).
"""


def pays(rows: int, chosen: int, count: int, learning: bool = False) -> bool:
    """Whether the chosen units alone take less time than all of them in large matrix products."""
    if learning:
        most = 0.15 if rows >= 64 else 0.08
    else:
        most = 0.6 if rows <= 16 else 0.45 if rows <= 128 else 0.3
    return chosen <= most * count


def _plainly(x, index, in_weight, in_bias, out_weight, out_bias, rectified: bool) -> Tensor:
    hidden = _dots_plainly(x, index, in_weight, in_bias)
    return _sums_plainly(hidden.relu() if rectified else hidden, index, out_weight, out_bias)


def _dots_plainly(x: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    dots = torch.einsum("nd,nkd->nk", x, weight[index.clamp_min(0)])
    return torch.where(index < 0, 0, dots if bias is None else dots + bias[index.clamp_min(0)])


def _sums_plainly(values: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = torch.where(index.unsqueeze(-1) < 0, 0, weight[index.clamp_min(0)])
    return torch.einsum("nk,nko->no", torch.where(index < 0, 0, values), rows) + (0 if bias is None else bias)


def _product_plainly(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return values @ weight + (0 if bias is None else bias)


def _sizes(seed: int) -> tuple[int, int, int, int, int]:
    """N, K, H, d, o."""
    return ((1, 3, 7, 5, 9), (0, 3, 7, 5, 9), (5, 0, 7, 5, 9), (37, 12, 100, 77, 33), (300, 20, 130, 64, 48))[seed % 5]


def _inputs(seed: int) -> tuple:
    draw = torch.Generator().manual_seed(seed)
    rows, chosen, count, width, out_width = _sizes(seed)
    index = torch.randint(-1, count, (rows, chosen), generator=draw)
    x, in_weight = torch.randn(rows, width, generator=draw), torch.randn(count, width, generator=draw)
    out_weight = torch.randn(out_width, count, generator=draw).T  # its rows do not lie together in memory
    biases = [torch.randn(size, generator=draw) if seed % 3 else None for size in (count, out_width)]
    return x, index, in_weight, biases[0], out_weight, biases[1], bool(seed % 2)


def _dots_inputs(seed: int) -> tuple:
    return _inputs(seed)[:4]


def _sums_inputs(seed: int) -> tuple:
    _, index, _, _, weight, bias, _ = _inputs(seed)
    return torch.randn(index.shape, generator=torch.Generator().manual_seed(seed)), index, weight, bias


def _rows_inputs(seed: int) -> tuple:
    x, index, in_weight, _, weight, bias, _ = _inputs(seed)
    hidden = x @ in_weight.T
    return hidden.new_zeros(hidden.shape).scatter(1, index.clamp_min(0), hidden), weight, bias


fast_paths = (
    FastPath(feedforward, _plainly, _inputs),
    FastPath(rows_product, _product_plainly, _rows_inputs),
    FastPath(chosen_dots, _dots_plainly, _dots_inputs, learns=True),
    FastPath(chosen_sums, _sums_plainly, _sums_inputs, learns=True),
)
