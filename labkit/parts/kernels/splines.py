"""Spline edges, compiled: only the four basis functions that are not zero at a number are computed and multiplied.

Grids of any order and spacing run in plain torch; the compiled code is for cubic splines on evenly spaced knots, and
looks itself whether they are. A row's answer is bit for bit the same in whatever batch it stands.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath
from labkit.parts.splines import edge_sums, even_knots, order_of

ORDER = 3
LINE, STRIP = 16, 128
"""Inputs and rows that go through together, as in the compiled code."""

_knots = Kernel("spline_places", "knots")
_forward = Kernel("splines", "forward")
_toward_inputs = Kernel("spline_gradients", "toward_inputs")
_toward_edges = Kernel("spline_gradients", "toward_edges")


def _even(grid: Tensor) -> Tensor | None:
    """Each input's middle knot and how many steps there are in 1; nothing where the knots are not even."""
    inputs, count = grid.shape
    found = torch.empty(2 * inputs + 1)
    address = found.data_ptr()
    _knots(1, grid.data_ptr(), address, address + 4 * inputs, inputs, count, address + 8 * inputs)
    return found if ctypes.c_float.from_address(address + 8 * inputs).value else None


def _working(pieces: int, edges: Tensor) -> tuple[Tensor, int]:
    """Working space of some pieces, and the bytes of each: places, sorted places, where each run of them ends, tiles."""
    room = 8 * (6 * STRIP * LINE + LINE * edges.shape[1]) + 4 * STRIP * max(64, edges.shape[2])
    return torch.empty(pieces * room // 4), room


def _pieces(rows: int, threads: int) -> tuple[int, int]:
    """How many pieces, and how many rows in each: whole strips, a few pieces for each thread."""
    share = STRIP * max(1, -(-rows // (STRIP * 4 * threads))) if threads > 1 else rows
    if threads > 1 and rows < STRIP * threads:
        share = -(-rows // threads)
    return -(-rows // share), share


def compute(x: Tensor, grid: Tensor, edges: Tensor) -> Tensor:
    """What `edge_sums` computes."""
    _refuse(x, grid, edges)
    grid, edges = grid.contiguous(), edges.contiguous()
    steps = _even(grid) if order_of(grid, edges) == ORDER else None
    if steps is None:
        with torch.no_grad():
            return edge_sums(x, grid, edges)
    flat = x.reshape(-1, x.shape[-1]).contiguous()
    rows, (inputs, slots, outputs) = len(flat), edges.shape
    out = flat.new_empty(rows, outputs)
    if out.numel() and inputs:
        threads = threads_for(10.0 * rows * inputs * outputs)
        pieces, share = _pieces(rows, threads)
        working, room = _working(pieces, edges)
        start = steps.data_ptr()
        given = (flat.data_ptr(), start, start + 4 * inputs, edges.data_ptr(), out.data_ptr(), working.data_ptr())
        _forward(pieces, *given, rows, inputs, slots, outputs, share, room, threads=threads)
    else:
        out.zero_()
    return out.view(*x.shape[:-1], outputs)


def _refuse(x: Tensor, grid: Tensor, edges: Tensor) -> None:
    if x.shape[-1] != len(edges) or len(grid) != len(edges):
        raise ValueError(
            f"as many inputs, grids and rows of edges are needed, but x is {tuple(x.shape)}, grid {tuple(grid.shape)} "
            f"and edges {tuple(edges.shape)}."
        )


def toward_inputs(slope: Tensor, x: Tensor, steps: Tensor, edges: Tensor) -> Tensor:
    """The gradient of x, which is (rows, inputs)."""
    rows, (inputs, slots, outputs) = len(x), edges.shape
    back, start = torch.empty_like(x), steps.data_ptr()
    threads = threads_for(12.0 * rows * inputs * outputs)
    pieces, share = _pieces(rows, threads)
    working, room = _working(pieces, edges)
    given = (x.data_ptr(), start, start + 4 * inputs, edges.data_ptr(), slope.data_ptr(), back.data_ptr())
    sizes = (rows, inputs, slots, outputs, share, room)
    _toward_inputs(pieces, *given, working.data_ptr(), *sizes, threads=threads)
    return back


def toward_edges(slope: Tensor, x: Tensor, steps: Tensor, edges: Tensor) -> Tensor:
    """The gradient of the weights."""
    rows, (inputs, slots, outputs) = len(x), edges.shape
    back, start, pieces = torch.empty_like(edges), steps.data_ptr(), -(-inputs // LINE)
    working, room = _working(pieces, edges)
    given = (x.data_ptr(), start, start + 4 * inputs, slope.data_ptr(), back.data_ptr(), working.data_ptr())
    threads = threads_for(10.0 * rows * inputs * outputs)
    _toward_edges(pieces, *given, rows, inputs, slots, outputs, room, threads=threads)
    return back


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    """Gradients of x and the weights; in plain torch for grids that are not even."""
    x, grid, edges = ctx.saved_tensors
    wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
    plain = order_of(grid, edges) != ORDER or not x.numel() or not edges.numel()
    steps = None if plain else _even(grid.contiguous())
    if steps is None:
        return _plainly(x, grid, edges, slope, wanted)
    rows, slope = x.reshape(-1, x.shape[-1]).contiguous(), slope.reshape(-1, slope.shape[-1]).contiguous()
    held = edges.contiguous()
    of_x = toward_inputs(slope, rows, steps, held).view(x.shape) if wanted[0] else None
    return of_x, None, toward_edges(slope, rows, steps, held) if wanted[1] else None


def _plainly(x: Tensor, grid: Tensor, edges: Tensor, slope: Tensor, wanted: tuple[bool, bool]):
    x, edges = x.detach().requires_grad_(wanted[0]), edges.detach().requires_grad_(wanted[1])
    with torch.enable_grad():
        sums = edge_sums(x, grid, edges)
    found = iter(torch.autograd.grad(sums, [one for one in (x, edges) if one.requires_grad], slope))
    of_x, of_edges = (next(found) if yes else None for yes in wanted)
    return of_x, None, of_edges


def shapes(x: Tensor, grid: Tensor, edges: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], edges.shape[-1])


spline_sums = Operation("spline_sums", compute, shapes, backward, keep)


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rows, inputs, outputs, cells = ((1, 3, 1, 1), (0, 5, 4, 5), (37, 17, 10, 5), (7, 33, 83, 3), (530, 4, 200, 20))[
        seed % 5
    ]
    x = 1.2 * torch.randn(rows, inputs, generator=draw)
    return (
        x,
        even_knots(-1.0, 1.0, cells, ORDER, inputs),
        torch.randn(inputs, cells + ORDER + 1, outputs, generator=draw),
    )


fast_paths = (FastPath(spline_sums, edge_sums, _drawn, learns=True),)
