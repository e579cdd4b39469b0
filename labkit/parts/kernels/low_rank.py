"""Low-rank products, compiled: both factors for six rows at a time, the few numbers between never leave the cache.

For ranks and widths of whole tiles only, for factors that stay in the second cache, and where no gradient is wanted: elsewhere
torch's two products are as fast. A row's answer is bit for bit the same in whatever batch it stands.
"""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, suits, threads_for
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.low_rank import low_rank_product

ROWS, SHARE = 6, 48
"""Rows that go through together, as in the compiled code, and the most that one piece of work takes."""
TILE = 64
"""Ranks and widths are multiples of this: four vectors of the widest processors, eight of others."""
HELD = 2**18
"""Numbers in a factor that stays in the second cache."""

_low_rank = Kernel("low_rank", "low_rank")


def low_rank(x: Tensor, down: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    """`low_rank_product`, whichever way is faster."""
    given = (x, down, up) if bias is None else (x, down, up, bias)
    learning = torch.is_grad_enabled() and any(one.requires_grad for one in given)
    held = max(down.numel(), up.numel()) <= HELD and x.numel() > ROWS * x.shape[-1]
    if suits(*given, worth=held and not learning and _whole(down, up)):
        return low_rank_products(x, down, up, bias)
    return low_rank_product(x, down, up, bias)


def _whole(down: Tensor, up: Tensor) -> bool:
    return down.shape[1] % TILE == 0 and up.shape[1] % TILE == 0


def compute(x: Tensor, down: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    """What `low_rank_product` computes."""
    (depth, rank), width = down.shape, up.shape[1]
    if x.shape[-1] != depth or len(up) != rank or (bias is not None and bias.shape != (width,)):
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise ValueError(f"inputs of shape {tuple(x.shape)} do not fit factors of shapes {shapes}.")
    if not _whole(down, up):
        with torch.no_grad():
            return low_rank_product(x, down, up, bias)
    rows, down, up = x.reshape(-1, depth).contiguous(), down.contiguous(), up.contiguous()
    own = None if bias is None else bias.contiguous()
    count = len(rows)
    out = rows.new_empty(count, width)
    threads = threads_for(float(count) * rank * (depth + width))
    each = SHARE if threads == 1 else min(SHARE, max(ROWS, -(-count // (2 * threads * ROWS)) * ROWS))
    pieces = -(-count // each)
    between = rows.new_empty(pieces * ROWS, rank)
    given = (rows.data_ptr(), down.data_ptr(), up.data_ptr(), depth, rank, width, 0 if own is None else own.data_ptr())
    _low_rank(pieces, count, each, *given, between.data_ptr(), out.data_ptr(), threads=threads)
    return out.view(*x.shape[:-1], width)


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    x, down, up = ctx.saved_tensors
    rows, slope = x.reshape(-1, x.shape[-1]), slope.reshape(-1, slope.shape[-1])
    of_between = slope @ up.t()
    of_x = (of_between @ down.t()).view(x.shape) if ctx.needs_input_grad[0] else None
    of_down = rows.t() @ of_between if ctx.needs_input_grad[1] else None
    of_up = (rows @ down).t() @ slope if ctx.needs_input_grad[2] else None
    return of_x, of_down, of_up, slope.sum(0) if ctx.needs_input_grad[3] else None


def shapes(x: Tensor, down: Tensor, up: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], up.shape[1])


low_rank_products = Operation("low_rank_products", compute, shapes, backward, keep)


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(seed)
    rows = (1, 0, 5, 6, 67)[seed % 5]
    depth, rank, width = ((20, 64, 128), (64, 16, 64), (7, 128, 64), (129, 64, 192))[seed % 4]
    factors = torch.randn(depth, rank, generator=draw), torch.randn(rank, width, generator=draw)
    bias = torch.randn(width, generator=draw) if seed % 3 else None
    return torch.randn(rows, depth, generator=draw), *factors, bias


fast_paths = (FastPath(low_rank_products, low_rank_product, _drawn, learns=True),)
