"""Products with blocks, compiled: one pass over the rows, nothing copied or transposed.

A row's answer is bit for bit the same in whatever batch it stands.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from labkit.parts.blocks import block_product, flat_butterfly, shuffled_product, sparse_product
from labkit.parts.kernels.engine import Kernel, Operation, suits, threads_for
from labkit.parts.kernels.fast_path import FastPath

ROWS, SHARE = 8, 32
"""Rows that go through together, as in the compiled code, and the most that one piece of work takes."""
LARGEST = 256
"""Numbers in a side of a block, above which torch's batched matrix product is as fast."""
MANY = 256
"""Rows from which the compiled block-diagonal product with its gradients is faster than torch's."""

_blocks = Kernel("blocks", "blocks")
_shuffled = Kernel("blocks", "shuffled")
_diagonals = Kernel("blocks", "diagonals")
_diagonals_back = Kernel("block_gradients", "diagonals_back")


def block_diagonal(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`block_product`, whichever way is faster: for the gradients of few rows that is torch's."""
    learning = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    many = not learning or x.numel() >= MANY * x.shape[-1]
    if suits(x, weight, *_some(bias), worth=weight.shape[-1] <= LARGEST and weight.shape[0] > 1 and many):
        return block_products(x, weight[:, None], bias, weight.shape[0])
    return block_product(x, weight, bias)


def block_sparse(x: Tensor, weight: Tensor, sources: Tensor, bias: Tensor | None) -> Tensor:
    """`sparse_product` with the sources of `flat_butterfly`, whichever way is faster."""
    if suits(x, weight, *_some(bias), worth=weight.shape[-1] <= LARGEST):
        return block_products(x, weight, bias, x.shape[-1] // weight.shape[2])
    return sparse_product(x, weight, sources, bias)


def block_shuffle(x: Tensor, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    """`shuffled_product`, whichever way is faster."""
    if suits(x, first, second, *_some(bias), worth=first.shape[-1] <= LARGEST and second.shape[-1] >= ROWS):
        return shuffled_products(x, first, second, bias)
    return shuffled_product(x, first, second, bias)


def _some(bias: Tensor | None) -> tuple[Tensor, ...]:
    return () if bias is None else (bias,)


@cache
def _table(in_blocks: int, out_blocks: int, terms: int) -> Tensor:
    """The pattern of a flat butterfly with so many blocks for each; of a block-diagonal matrix where it is 1."""
    if terms == 1 and in_blocks == out_blocks:
        return torch.arange(in_blocks)[:, None]
    factors = terms // max(1, in_blocks // out_blocks) - 1
    return torch.tensor(flat_butterfly(in_blocks, out_blocks, factors))


@cache
def _reversed(in_blocks: int, out_blocks: int, terms: int) -> tuple[Tensor, Tensor]:
    """For each block of inputs: which pairs (block of outputs, term) meet it, and those blocks of outputs."""
    order = _table(in_blocks, out_blocks, terms).flatten().argsort(stable=True).view(in_blocks, -1)
    return order, order // terms


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _shared(rows: int, work: float) -> tuple[int, int, int]:
    """How many pieces, how many rows in each, and how many threads."""
    threads = threads_for(work)
    each = min(SHARE, max(ROWS, -(-rows // (2 * threads * ROWS)) * ROWS))
    return -(-rows // each), each, threads


def _multiply(rows: Tensor, weight: Tensor, sources: Tensor, bias: Tensor | None) -> Tensor:
    """The block-sparse product of rows and weight (k, m, p, q), both contiguous."""
    count, terms, depth, width = weight.shape
    out = rows.new_empty(len(rows), count * width)
    pieces, each, threads = _shared(len(rows), float(len(rows)) * weight.numel())
    given = (rows.data_ptr(), 4 * rows.shape[1], weight.data_ptr(), sources.data_ptr(), count, terms, depth, width)
    _blocks(pieces, len(rows), each, *given, _address(bias), out.data_ptr(), threads=threads)
    return out


def _refuse(fits: bool, x: Tensor, *weights: Tensor | None) -> None:
    if not fits:
        shapes = ", ".join(str(tuple(weight.shape)) for weight in weights if weight is not None)
        raise ValueError(f"inputs of shape {tuple(x.shape)} do not fit weights of shapes {shapes}.")


def compute_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, in_blocks: int) -> Tensor:
    """What `sparse_product` computes with the pattern of a flat butterfly, `block_product` with one term."""
    count, terms, depth, width = weight.shape
    _refuse(x.shape[-1] == in_blocks * depth and (bias is None or len(bias) == count * width), x, weight, bias)
    bias = None if bias is None else bias.contiguous()
    sources = _table(in_blocks, count, terms)
    _refuse(sources.shape == (count, terms), x, weight)
    return _multiply(_rows(x), weight.contiguous(), sources, bias).view(*x.shape[:-1], count * width)


def keep_blocks(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, int], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.in_blocks = inputs[3]


def backward_blocks(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    count, terms, depth, width = weight.shape
    sources = _table(ctx.in_blocks, count, terms)
    rows, slope = _rows(x), _rows(slope)
    of_x = of_weight = None
    if ctx.needs_input_grad[0]:
        order, met = _reversed(ctx.in_blocks, count, terms)
        chosen = weight if terms == 1 and ctx.in_blocks == count else weight.flatten(0, 1)[order]
        turned = chosen.transpose(-1, -2).contiguous()
        of_x = _multiply(slope, turned, met, None).view(x.shape)
    if ctx.needs_input_grad[1]:
        given = rows.view(len(rows), ctx.in_blocks, depth)
        given = given[:, sources].flatten(2) if terms > 1 else given
        of_weight = torch.bmm(given.permute(1, 2, 0), slope.view(len(rows), count, width).transpose(0, 1))
        of_weight = of_weight.view(weight.shape)
    return of_x, of_weight, slope.sum(0) if ctx.needs_input_grad[2] else None, None


def compute_shuffled(x: Tensor, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    """What `shuffled_product` computes."""
    (count, depth, width), (out_width, sums, across) = first.shape, second.shape
    fits = x.shape[-1] == count * depth and count * width == sums * across
    _refuse(fits and (bias is None or len(bias) == out_width * across), x, first, second, bias)
    rows, first, second = _rows(x), first.contiguous(), second.contiguous()
    bias = None if bias is None else bias.contiguous()
    out = rows.new_empty(len(rows), out_width * across)
    pieces, each, threads = _shared(len(rows), float(len(rows)) * (first.numel() + second.numel()))
    between = rows.new_empty(pieces * ROWS, count * width)
    given = (rows.data_ptr(), first.data_ptr(), _table(count, count, 1).data_ptr(), count, depth, width)
    then = (second.data_ptr(), out_width, sums, across, _address(bias), between.data_ptr(), out.data_ptr())
    _shuffled(pieces, len(rows), each, *given, *then, threads=threads)
    return out.view(*x.shape[:-1], out_width * across)


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def backward_shuffled(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
    x, first, second = ctx.saved_tensors
    (count, depth, width), (out_width, sums, across) = first.shape, second.shape
    rows, slope, own = _rows(x), _rows(slope), _table(count, count, 1)
    of_x = of_first = of_second = None
    if ctx.needs_input_grad[2]:
        between, of_second = (
            _multiply(rows, first.contiguous()[:, None], own, None),
            torch.zeros_like(second).contiguous(),
        )
        given = (len(rows), between.data_ptr(), slope.data_ptr(), of_second.data_ptr(), out_width, sums, across)
        _diagonals_back(-(-out_width // ROWS), *given, threads=threads_for(float(len(rows)) * second.numel()))
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        turned, of_between = second.transpose(0, 1).contiguous(), rows.new_empty(len(rows), count * width)
        pieces, each, threads = _shared(len(rows), float(len(rows)) * second.numel())
        given = (len(rows), each, slope.data_ptr(), turned.data_ptr(), sums, out_width, across, of_between.data_ptr())
        _diagonals(pieces, *given, threads=threads)
        if ctx.needs_input_grad[0]:
            of_x = _multiply(of_between, first.transpose(1, 2).contiguous()[:, None], own, None).view(x.shape)
        if ctx.needs_input_grad[1]:
            blocks = of_between.view(len(rows), count, width).transpose(0, 1)
            of_first = torch.bmm(rows.view(len(rows), count, depth).permute(1, 2, 0), blocks)
    return of_x, of_first, of_second, slope.sum(0) if ctx.needs_input_grad[3] else None


def shapes_of_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, in_blocks: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0] * weight.shape[3])


def shapes_of_shuffled(x: Tensor, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], second.shape[0] * second.shape[2])


block_products = Operation("block_products", compute_blocks, shapes_of_blocks, backward_blocks, keep_blocks)
shuffled_products = Operation("shuffled_products", compute_shuffled, shapes_of_shuffled, backward_shuffled, keep)


def _plain_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, in_blocks: int) -> Tensor:
    return sparse_product(x, weight, _table(in_blocks, weight.shape[0], weight.shape[1]), bias)


def _drawer(seed: int) -> tuple[Any, int, bool]:
    """What draws normal numbers, how many rows, and whether there is a bias."""
    draw = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(size, generator=draw), (1, 0, 5, 8, 67)[seed % 5], bool(seed % 3)


def _drawn_blocks(seed: int) -> tuple[Tensor, Tensor, Tensor | None, int]:
    normal, rows, biased = _drawer(seed)
    inside, outside, terms, depth, width = (
        (3, 3, 1, 5, 7),
        (4, 8, 3, 16, 33),
        (8, 2, 8, 3, 40),
        (1, 1, 1, 9, 16),
        (32, 32, 1, 32, 32),
        (4, 4, 3, 1, 1),
        (7, 7, 1, 20, 67),
    )[seed % 7]
    bias = normal(outside * width) if biased else None
    return normal(rows, inside * depth), normal(outside, terms, depth, width), bias, inside


def _drawn_shuffled(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    normal, rows, biased = _drawer(seed)
    count, depth, width, out_width, across = (
        (4, 3, 8, 5, 8),
        (17, 5, 17, 17, 17),
        (32, 9, 32, 31, 32),
        (3, 4, 1, 1, 3),
    )[seed % 4]
    bias = normal(out_width * across) if biased else None
    second = normal(out_width, count * width // across, across)
    return normal(rows, count * depth), normal(count, depth, width), second, bias


fast_paths = (
    FastPath(block_products, _plain_blocks, _drawn_blocks, learns=True),
    FastPath(shuffled_products, shuffled_product, _drawn_shuffled, learns=True),
)
