"""Butterfly products, compiled: all factors while eight rows are in the cache, and the gradients in one pass as well.

A row's answer is bit for bit the same in whatever batch it stands.
"""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.butterfly import butterfly_product
from labkit.parts.kernels.engine import Kernel, Operation, suits, threads_for
from labkit.parts.kernels.fast_path import FastPath

ROWS = 8
"""Rows that go through together, as in the compiled code."""
LEAST = 16
"""The least width: a full vector register."""
PIECES = 8
"""Into how many shares the gradient of the factors is summed at most, whatever the number of threads."""

_forward = Kernel("butterfly", "butterfly")
_backward = Kernel("butterfly_gradients", "butterfly_back")


def butterfly(x: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """`butterfly_product`, whichever way is faster."""
    given = (x, factors) if bias is None else (x, factors, bias)
    if suits(*given, worth=x.shape[-1] >= LEAST):
        return butterfly_products(x, factors, bias)
    return butterfly_product(x, factors, bias)


def compute(x: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """What `butterfly_product` computes."""
    depth, two, n = factors.shape
    if x.shape[-1] != n or n != 1 << depth or two != 2 or (bias is not None and bias.shape != (n,)):
        raise ValueError(f"inputs of shape {tuple(x.shape)} do not fit factors of shape {tuple(factors.shape)}.")
    if n < LEAST:
        with torch.no_grad():
            return butterfly_product(x, factors, bias)
    rows, factors = x.reshape(-1, n).contiguous(), factors.contiguous()
    bias = None if bias is None else bias.contiguous()
    out = torch.empty_like(rows)
    threads = threads_for(2.0 * len(rows) * n * depth)
    each = min(4 * ROWS, max(ROWS, -(-len(rows) // (2 * threads * ROWS)) * ROWS))
    given = (rows.data_ptr(), factors.data_ptr(), n, depth, 0 if bias is None else bias.data_ptr(), out.data_ptr())
    _forward(-(-len(rows) // each), len(rows), each, *given, threads=threads)
    return out.view(x.shape)


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of x, factors and bias."""
    x, factors = ctx.saved_tensors
    depth, n = len(factors), x.shape[-1]
    rows = x.reshape(-1, n).contiguous()
    of_x = slope.reshape(-1, n).clone(memory_format=torch.contiguous_format)
    of_bias = of_x.sum(0) if ctx.needs_input_grad[2] else None
    if n < LEAST:
        with torch.enable_grad():
            given = x.detach().requires_grad_(), factors.detach().requires_grad_()
            return *torch.autograd.grad(butterfly_product(*given, None), given, slope), of_bias
    each = max(ROWS, -(-len(rows) // (PIECES * ROWS)) * ROWS)
    pieces = -(-len(rows) // each)
    of_factors = rows.new_zeros(pieces, *factors.shape)
    between = rows.new_empty(pieces, depth, ROWS, n)
    given = (rows.data_ptr(), factors.contiguous().data_ptr(), n, depth)
    into = (of_x.data_ptr(), of_factors.data_ptr(), between.data_ptr())
    threads = threads_for(6.0 * len(rows) * n * depth)
    _backward(pieces, len(rows), each, *given, *into, threads=threads)
    return of_x.view(x.shape), of_factors.sum(0), of_bias


def shapes(x: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


butterfly_products = Operation("butterfly_products", compute, shapes, backward, keep)


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(seed)
    rows, depth = ((1, 4), (0, 5), (3, 6), (8, 7), (21, 3), (9, 11), (70, 5))[seed % 7]
    n = 1 << depth
    bias = torch.randn(n, generator=draw) if seed % 3 else None
    return torch.randn(rows, n, generator=draw), torch.randn(depth, 2, n, generator=draw) / 2**0.5, bias


fast_paths = (FastPath(butterfly_products, butterfly_product, _drawn, learns=True),)
