# pyright: reportCallIssue=false
"""Compiled: reads memory as fast as one thread can, for the ceiling that a floor is held against."""

from numba import njit

from labkit.parts.kernels.cpu.lanes import FAST, LANES, add, load, total, zeros

STRIDE = 8 * LANES


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
