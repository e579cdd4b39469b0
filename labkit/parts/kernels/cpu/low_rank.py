"""Compiled low-rank product: six rows by four vectors of outputs stay in registers, the few numbers between in the cache."""

from numba import njit

from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import FAST, LANES, argument, fma, load, number, spread, store, ticket, zeros

ROWS = 6
WIDE = 4 * LANES


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _tile(x, row, last, depth, weight, width, bias, out, out_row):
    """Six rows of four vectors of outputs. Behind the last row the last is computed, and written, again."""
    b, c, d = x + row * min(1, last), x + row * min(2, last), x + row * min(3, last)
    e, f = x + row * min(4, last), x + row * min(5, last)
    w0, w1, w2, w3 = zeros(), zeros(), zeros(), zeros()
    if bias:
        w0, w1, w2, w3 = load(bias, 0), load(bias, LANES), load(bias, 2 * LANES), load(bias, 3 * LANES)
    a0, a1, a2, a3 = w0, w1, w2, w3
    b0, b1, b2, b3 = w0, w1, w2, w3
    c0, c1, c2, c3 = w0, w1, w2, w3
    d0, d1, d2, d3 = w0, w1, w2, w3
    e0, e1, e2, e3 = w0, w1, w2, w3
    f0, f1, f2, f3 = w0, w1, w2, w3
    for place in range(depth):
        w0, w1, w2, w3 = load(weight, 0), load(weight, LANES), load(weight, 2 * LANES), load(weight, 3 * LANES)
        weight += 4 * width
        one = spread(number(x, place))
        a0, a1, a2, a3 = fma(one, w0, a0), fma(one, w1, a1), fma(one, w2, a2), fma(one, w3, a3)
        one = spread(number(b, place))
        b0, b1, b2, b3 = fma(one, w0, b0), fma(one, w1, b1), fma(one, w2, b2), fma(one, w3, b3)
        one = spread(number(c, place))
        c0, c1, c2, c3 = fma(one, w0, c0), fma(one, w1, c1), fma(one, w2, c2), fma(one, w3, c3)
        one = spread(number(d, place))
        d0, d1, d2, d3 = fma(one, w0, d0), fma(one, w1, d1), fma(one, w2, d2), fma(one, w3, d3)
        one = spread(number(e, place))
        e0, e1, e2, e3 = fma(one, w0, e0), fma(one, w1, e1), fma(one, w2, e2), fma(one, w3, e3)
        one = spread(number(f, place))
        f0, f1, f2, f3 = fma(one, w0, f0), fma(one, w1, f1), fma(one, w2, f2), fma(one, w3, f3)
    to = out
    store(out, 0, a0)
    store(out, LANES, a1)
    store(out, 2 * LANES, a2)
    store(out, 3 * LANES, a3)
    out = to + out_row * min(1, last)
    store(out, 0, b0)
    store(out, LANES, b1)
    store(out, 2 * LANES, b2)
    store(out, 3 * LANES, b3)
    out = to + out_row * min(2, last)
    store(out, 0, c0)
    store(out, LANES, c1)
    store(out, 2 * LANES, c2)
    store(out, 3 * LANES, c3)
    out = to + out_row * min(3, last)
    store(out, 0, d0)
    store(out, LANES, d1)
    store(out, 2 * LANES, d2)
    store(out, 3 * LANES, d3)
    out = to + out_row * min(4, last)
    store(out, 0, e0)
    store(out, LANES, e1)
    store(out, 2 * LANES, e2)
    store(out, 3 * LANES, e3)
    out = to + out_row * min(5, last)
    store(out, 0, f0)
    store(out, LANES, f1)
    store(out, 2 * LANES, f2)
    store(out, 3 * LANES, f3)


@fast_kernel
def low_rank(p):
    """out = x down up + bias; `middle` has six rows for each piece. Rank and width are multiples of four vectors."""
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, down, up = argument(p, 4), argument(p, 5), argument(p, 6)
    depth, rank, width = argument(p, 7), argument(p, 8), argument(p, 9)
    bias, middle, out = argument(p, 10), argument(p, 11), argument(p, 12)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        between = middle + 4 * rank * piece * ROWS
        for first in range(piece * each, min(rows, (piece + 1) * each), ROWS):
            last = min(ROWS, rows - first, (piece + 1) * each - first) - 1
            for place in range(0, rank, WIDE):
                given, to = x + first * 4 * depth, between + 4 * place
                _tile(given, 4 * depth, last, depth, down + 4 * place, rank, 0, to, 4 * rank)
            for place in range(0, width, WIDE):
                own, to = bias + 4 * place if bias else 0, out + 4 * (first * width + place)
                _tile(between, 4 * rank, last, rank, up + 4 * place, width, own, to, 4 * width)
