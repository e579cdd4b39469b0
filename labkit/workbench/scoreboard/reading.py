# pyright: reportCallIssue=false
"""Compiled: reads memory as fast as one thread can, for the ceiling that a floor is held against."""

from numba import njit

from labkit.parts.kernels.cpu.lanes import FAST, LANES, add, load, total, whole, zeros
from labkit.parts.kernels.cpu.rows import fetch_early

STRIDE = 8 * LANES
AHEAD = 512


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def read(address, count, passes):
    """Add up `count` float32 (a multiple of STRIDE) at `address`, `passes` times over, in eight sums that do not wait."""
    a, b, c, d = zeros(), zeros(), zeros(), zeros()
    e, f, g, h = zeros(), zeros(), zeros(), zeros()
    for _ in range(passes):
        for place in range(0, count, STRIDE):
            a = add(a, load(address, place))
            b = add(b, load(address, place + LANES))
            c = add(c, load(address, place + 2 * LANES))
            d = add(d, load(address, place + 3 * LANES))
            e = add(e, load(address, place + 4 * LANES))
            f = add(f, load(address, place + 5 * LANES))
            g = add(g, load(address, place + 6 * LANES))
            h = add(h, load(address, place + 7 * LANES))
    return total(add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h))))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def read_apart(address, count, passes):
    """The same from four places at once, each asked for early: faster where the numbers come from far."""
    a, b, c, d = zeros(), zeros(), zeros(), zeros()
    quarter = count // 4
    second, third, fourth = address + 4 * quarter, address + 8 * quarter, address + 12 * quarter
    for _ in range(passes):
        for place in range(0, quarter, LANES):
            ahead = min(place + AHEAD, quarter - LANES)
            fetch_early(address, ahead)
            fetch_early(second, ahead)
            fetch_early(third, ahead)
            fetch_early(fourth, ahead)
            a = add(a, load(address, place))
            b = add(b, load(second, place))
            c = add(c, load(third, place))
            d = add(d, load(fourth, place))
    return total(add(add(a, b), add(c, d)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def read_rows(address, order, count, width):
    """Add up rows of `width` float32 (a multiple of 4 LANES) in the order of the int64 at `order`."""
    a, b, c, d = zeros(), zeros(), zeros(), zeros()
    for row in range(count):
        start = address + 4 * width * whole(order, row)
        for place in range(0, width, 4 * LANES):
            a = add(a, load(start, place))
            b = add(b, load(start, place + LANES))
            c = add(c, load(start, place + 2 * LANES))
            d = add(d, load(start, place + 3 * LANES))
    return total(add(add(a, b), add(c, d)))
