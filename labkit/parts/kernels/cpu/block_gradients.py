"""Compiled gradient of the second factor of the Monarch form: sums over rows of products of two vectors of blocks."""

from numba import njit

from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import FAST, LANES, argument, fma, load_some, store_some, ticket

ROWS = 128
"""How many rows of both stay in the cache while all pairs of their vectors are met."""
TILE = 4
WIDE = 8
"""How many of the outputs one piece of work takes."""


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _pairs(rows, x, row, x1, x2, x3, slope, slope_row, s1, s2, s3, to, next_s1, next_s2, next_s3, count):
    """Adds to 4 x 4 vectors of the gradient. What follows a row's first vector is said by its distance in bytes."""
    t1, t2, t3 = to + next_s1, to + next_s2, to + next_s3
    a0, a1 = load_some(to, 0, count), load_some(to + x1, 0, count)
    a2, a3 = load_some(to + x2, 0, count), load_some(to + x3, 0, count)
    b0, b1 = load_some(t1, 0, count), load_some(t1 + x1, 0, count)
    b2, b3 = load_some(t1 + x2, 0, count), load_some(t1 + x3, 0, count)
    c0, c1 = load_some(t2, 0, count), load_some(t2 + x1, 0, count)
    c2, c3 = load_some(t2 + x2, 0, count), load_some(t2 + x3, 0, count)
    d0, d1 = load_some(t3, 0, count), load_some(t3 + x1, 0, count)
    d2, d3 = load_some(t3 + x2, 0, count), load_some(t3 + x3, 0, count)
    for _ in range(rows):
        p, q = load_some(x, 0, count), load_some(x + x1, 0, count)
        r, s = load_some(x + x2, 0, count), load_some(x + x3, 0, count)
        g = load_some(slope, 0, count)
        a0, a1, a2, a3 = fma(g, p, a0), fma(g, q, a1), fma(g, r, a2), fma(g, s, a3)
        g = load_some(slope + s1, 0, count)
        b0, b1, b2, b3 = fma(g, p, b0), fma(g, q, b1), fma(g, r, b2), fma(g, s, b3)
        g = load_some(slope + s2, 0, count)
        c0, c1, c2, c3 = fma(g, p, c0), fma(g, q, c1), fma(g, r, c2), fma(g, s, c3)
        g = load_some(slope + s3, 0, count)
        d0, d1, d2, d3 = fma(g, p, d0), fma(g, q, d1), fma(g, r, d2), fma(g, s, d3)
        x += row
        slope += slope_row
    _four(to, x1, x2, x3, a0, a1, a2, a3, count)
    _four(t1, x1, x2, x3, b0, b1, b2, b3, count)
    _four(t2, x1, x2, x3, c0, c1, c2, c3, count)
    _four(t3, x1, x2, x3, d0, d1, d2, d3, count)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _four(to, x1, x2, x3, a, b, c, d, count):
    store_some(to, 0, a, count)
    store_some(to + x1, 0, b, count)
    store_some(to + x2, 0, c, count)
    store_some(to + x3, 0, d, count)


@fast_kernel
def diagonals_back(p):
    """weight[s, r, l] += Σ_t slope[t, s, l] x[t, r, l]. At the ends a tile meets its last vector more than once."""
    pieces, rows, x, slope, out = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    width, depth, across = argument(p, 6), argument(p, 7), argument(p, 8)
    line = 4 * across
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        begin = piece * WIDE
        for lane in range(0, across, LANES):
            count = min(LANES, across - lane)
            for first in range(0, rows, ROWS):
                for s in range(begin, min(width, begin + WIDE), TILE):
                    s1, s2 = min(1, width - 1 - s) * line, min(2, width - 1 - s) * line
                    s3 = min(3, width - 1 - s) * line
                    for r in range(0, depth, TILE):
                        x1, x2 = min(1, depth - 1 - r) * line, min(2, depth - 1 - r) * line
                        x3 = min(3, depth - 1 - r) * line
                        given = x + (first * depth + r) * line + 4 * lane
                        slopes = slope + (first * width + s) * line + 4 * lane
                        to = out + (s * depth + r) * line + 4 * lane
                        mine = min(ROWS, rows - first)
                        far1, far2, far3, step = s1 * depth, s2 * depth, s3 * depth, width * line
                        _pairs(
                            mine, given, depth * line, x1, x2, x3, slopes, step, s1, s2, s3, to, far1, far2, far3, count
                        )
