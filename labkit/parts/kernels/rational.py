"""Group-rational functions, compiled: one pass forward, one back.

Plain torch makes a dozen passes over the numbers, and its gradient of the shared coefficients two dozen more.
"""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.rational import DENOMINATOR, NUMERATOR
from labkit.parts.rational import rational as plain

STRIP = 64
"""Rows of a piece: fixed, for the gradients of the coefficients are sums of its sums."""

_forward, _backward = Kernel("rational", "forward"), Kernel("rational", "backward")


def compute(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """What `parts.rational.rational` computes."""
    _refuse(x, numerator, denominator)
    x, numerator, denominator = x.contiguous(), numerator.contiguous(), denominator.contiguous()
    out, (rows, groups, width) = torch.empty_like(x), _sizes(x, numerator)
    given = (x.data_ptr(), numerator.data_ptr(), denominator.data_ptr(), out.data_ptr())
    if x.numel():
        _forward(-(-rows // STRIP), *given, rows, groups, width, STRIP, threads=threads_for(10.0 * x.numel()))
    return out


def _refuse(x: Tensor, numerator: Tensor, denominator: Tensor) -> None:
    groups = len(numerator)
    if numerator.shape != (groups, NUMERATOR) or denominator.shape != (groups, DENOMINATOR) or x.shape[-1] % groups:
        raise ValueError(
            f"channels in whole groups are needed, with {NUMERATOR} and {DENOMINATOR} coefficients each, but x is "
            f"{tuple(x.shape)}, numerator {tuple(numerator.shape)} and denominator {tuple(denominator.shape)}."
        )


def _sizes(x: Tensor, numerator: Tensor) -> tuple[int, int, int]:
    channels, groups = x.shape[-1], len(numerator)
    return x.numel() // max(1, channels), groups, channels // groups


def keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, ...]:
    """Gradients of x and the coefficients."""
    x, numerator, denominator = (one.contiguous() for one in ctx.saved_tensors)
    slope, (rows, groups, width) = slope.contiguous(), _sizes(x, numerator)
    back, pieces = torch.empty_like(x), -(-rows // STRIP)
    sums = torch.empty(pieces, groups, NUMERATOR + DENOMINATOR)
    given = (x.data_ptr(), numerator.data_ptr(), denominator.data_ptr(), slope.data_ptr(), back.data_ptr())
    if x.numel():
        threads = threads_for(30.0 * x.numel())
        _backward(pieces, *given, sums.data_ptr(), rows, groups, width, STRIP, threads=threads)
    else:
        sums.zero_()
    return back, *sums.sum(0).split((NUMERATOR, DENOMINATOR), 1)


def shapes(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.empty_like(x)


group_rational = Operation("group_rational", compute, shapes, backward, keep)


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rows, groups, width = ((1, 2, 9), (0, 2, 5), (37, 3, 7), (130, 2, 33), (65, 4, 64))[seed % 5]
    x, above = torch.randn(rows, groups * width, generator=draw), torch.randn(groups, NUMERATOR, generator=draw)
    return x, above, torch.randn(groups, DENOMINATOR, generator=draw)


fast_paths = (FastPath(group_rational, plain, _drawn, learns=True),)
