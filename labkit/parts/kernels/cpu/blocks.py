"""Compiled products with blocks: block diagonal and block sparse, diagonals of blocks, and two of these in a row.

Eight rows at a time stay in registers. With weights stored from input to output the outputs of a block lie side by side
in a vector, and one number of the input is spread over it: nothing is transposed. Where a matrix of diagonals follows (the
second factor of the Monarch form) the blocks lie side by side instead, so the shuffle between the factors is only a
matter of addresses.
"""

from numba import njit

from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    FAST,
    LANES,
    argument,
    fma,
    load,
    load_some,
    number,
    spread,
    store,
    store_some,
    ticket,
    whole,
    zeros,
)

ROWS = 8


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _pair(x, row, last, sources, terms, depth, weight, width, bias, out, out_row):
    """Eight rows of two vectors of outputs of one block."""
    a, b, c, d = x, x + row * min(1, last), x + row * min(2, last), x + row * min(3, last)
    e, f, g, h = x + row * min(4, last), x + row * min(5, last), x + row * min(6, last), x + row * min(7, last)
    left, right = zeros(), zeros()
    if bias:
        left, right = load(bias, 0), load(bias, LANES)
    a0, a1, b0, b1, c0, c1, d0, d1 = left, right, left, right, left, right, left, right
    e0, e1, f0, f1, g0, g1, h0, h1 = left, right, left, right, left, right, left, right
    for term in range(terms):
        place = whole(sources, term) * depth
        for _ in range(depth):
            left, right = load(weight, 0), load(weight, LANES)
            weight += 4 * width
            one = spread(number(a, place))
            a0, a1 = fma(one, left, a0), fma(one, right, a1)
            one = spread(number(b, place))
            b0, b1 = fma(one, left, b0), fma(one, right, b1)
            one = spread(number(c, place))
            c0, c1 = fma(one, left, c0), fma(one, right, c1)
            one = spread(number(d, place))
            d0, d1 = fma(one, left, d0), fma(one, right, d1)
            one = spread(number(e, place))
            e0, e1 = fma(one, left, e0), fma(one, right, e1)
            one = spread(number(f, place))
            f0, f1 = fma(one, left, f0), fma(one, right, f1)
            one = spread(number(g, place))
            g0, g1 = fma(one, left, g0), fma(one, right, g1)
            one = spread(number(h, place))
            h0, h1 = fma(one, left, h0), fma(one, right, h1)
            place += 1
    _put(out, out_row, last, a0, b0, c0, d0, e0, f0, g0, h0, LANES)
    _put(out + 4 * LANES, out_row, last, a1, b1, c1, d1, e1, f1, g1, h1, LANES)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _put(out, row, last, a, b, c, d, e, f, g, h, count):
    """Eight vectors to eight rows; of the rows behind the last nothing is written."""
    if last == ROWS - 1 and count == LANES:
        store(out, 0, a)
        store(out + row, 0, b)
        store(out + 2 * row, 0, c)
        store(out + 3 * row, 0, d)
        store(out + 4 * row, 0, e)
        store(out + 5 * row, 0, f)
        store(out + 6 * row, 0, g)
        store(out + 7 * row, 0, h)
        return
    store_some(out, 0, a, count)
    if last >= 1:
        store_some(out + row, 0, b, count)
    if last >= 2:
        store_some(out + 2 * row, 0, c, count)
    if last >= 3:
        store_some(out + 3 * row, 0, d, count)
    if last >= 4:
        store_some(out + 4 * row, 0, e, count)
    if last >= 5:
        store_some(out + 5 * row, 0, f, count)
    if last >= 6:
        store_some(out + 6 * row, 0, g, count)
    if last >= 7:
        store_some(out + 7 * row, 0, h, count)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _edge(x, row, last, sources, terms, depth, weight, width, bias, out, out_row, count):
    """Eight rows of the last `count` outputs of a block, at most one vector."""
    a, b, c, d = x, x + row * min(1, last), x + row * min(2, last), x + row * min(3, last)
    e, f, g, h = x + row * min(4, last), x + row * min(5, last), x + row * min(6, last), x + row * min(7, last)
    own = zeros()
    if bias:
        own = load_some(bias, 0, count)
    a0, b0, c0, d0, e0, f0, g0, h0 = own, own, own, own, own, own, own, own
    for term in range(terms):
        place = whole(sources, term) * depth
        for _ in range(depth):
            own = load_some(weight, 0, count)
            weight += 4 * width
            a0, b0 = fma(spread(number(a, place)), own, a0), fma(spread(number(b, place)), own, b0)
            c0, d0 = fma(spread(number(c, place)), own, c0), fma(spread(number(d, place)), own, d0)
            e0, f0 = fma(spread(number(e, place)), own, e0), fma(spread(number(f, place)), own, f0)
            g0, h0 = fma(spread(number(g, place)), own, g0), fma(spread(number(h, place)), own, h0)
            place += 1
    _put(out, out_row, last, a0, b0, c0, d0, e0, f0, g0, h0, count)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _blocks(rows, x, row, weight, sources, blocks, terms, depth, width, bias, out):
    """Block k of the outputs from its `terms` blocks of inputs; `row` in bytes."""
    size, out_row = 4 * terms * depth * width, 4 * blocks * width
    for first in range(0, rows, ROWS):
        last = min(ROWS, rows - first) - 1
        for block in range(blocks):
            own, chosen = weight + block * size, sources + 8 * block * terms
            for place in range(0, width, 2 * LANES):
                at = 4 * (block * width + place)
                start, to = bias + at if bias else 0, out + first * out_row + at
                left, given = width - place, x + first * row
                if left >= 2 * LANES:
                    _pair(given, row, last, chosen, terms, depth, own + 4 * place, width, start, to, out_row)
                    continue
                some = min(LANES, left)
                _edge(given, row, last, chosen, terms, depth, own + 4 * place, width, start, to, out_row, some)
                if left > LANES:
                    start = start + 4 * LANES if bias else 0
                    own_right, some = own + 4 * (place + LANES), left - LANES
                    to += 4 * LANES
                    _edge(given, row, last, chosen, terms, depth, own_right, width, start, to, out_row, some)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _diagonal(x, row, last, step, depth, weight, next_weight, bias, next_bias, out, out_row, next_out, count):
    """Eight rows of two vectors of outputs; every lane has a block of its own. `next_out` is 0 where one is enough."""
    a, b, c, d = x, x + row * min(1, last), x + row * min(2, last), x + row * min(3, last)
    e, f, g, h = x + row * min(4, last), x + row * min(5, last), x + row * min(6, last), x + row * min(7, last)
    left, right = zeros(), zeros()
    if bias:
        left, right = load_some(bias, 0, count), load_some(next_bias, 0, count)
    a0, a1, b0, b1, c0, c1, d0, d1 = left, right, left, right, left, right, left, right
    e0, e1, f0, f1, g0, g1, h0, h1 = left, right, left, right, left, right, left, right
    place = 0
    for _ in range(depth):
        left, right = load_some(weight, place, count), load_some(next_weight, place, count)
        some = load_some(a, place, count)
        a0, a1 = fma(some, left, a0), fma(some, right, a1)
        some = load_some(b, place, count)
        b0, b1 = fma(some, left, b0), fma(some, right, b1)
        some = load_some(c, place, count)
        c0, c1 = fma(some, left, c0), fma(some, right, c1)
        some = load_some(d, place, count)
        d0, d1 = fma(some, left, d0), fma(some, right, d1)
        some = load_some(e, place, count)
        e0, e1 = fma(some, left, e0), fma(some, right, e1)
        some = load_some(f, place, count)
        f0, f1 = fma(some, left, f0), fma(some, right, f1)
        some = load_some(g, place, count)
        g0, g1 = fma(some, left, g0), fma(some, right, g1)
        some = load_some(h, place, count)
        h0, h1 = fma(some, left, h0), fma(some, right, h1)
        place += step
    _put(out, out_row, last, a0, b0, c0, d0, e0, f0, g0, h0, count)
    if next_out:
        _put(next_out, out_row, last, a1, b1, c1, d1, e1, f1, g1, h1, count)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _diagonals(rows, x, row, weight, width, depth, across, bias, out):
    """out[t, s, l] = Σ_r x[t, r, l] weight[s, r, l]; `row` in bytes."""
    out_row, size = 4 * width * across, 4 * depth * across
    for first in range(0, rows, ROWS):
        last = min(ROWS, rows - first) - 1
        for lane in range(0, across, LANES):
            count = min(LANES, across - lane)
            for s in range(0, width, 2):
                beside = min(s + 1, width - 1)
                own, next_own = bias + 4 * (s * across + lane), bias + 4 * (beside * across + lane)
                if bias == 0:
                    own = next_own = 0
                to = out + first * out_row + 4 * (s * across + lane)
                next_to = to + 4 * across if s + 1 < width else 0
                weights = weight + s * size + 4 * lane
                next_weights = weight + beside * size + 4 * lane
                given = x + first * row + 4 * lane
                _diagonal(
                    given, row, last, across, depth, weights, next_weights, own, next_own, to, out_row, next_to, count
                )


@fast_kernel
def blocks(p):
    """out[t, k] = Σ_m x[t, source(k, m)] weight[k, m] + bias[k]: blocks of numbers throughout."""
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, row, weight, sources = argument(p, 4), argument(p, 5), argument(p, 6), argument(p, 7)
    count, terms, depth, width = argument(p, 8), argument(p, 9), argument(p, 10), argument(p, 11)
    bias, out = argument(p, 12), argument(p, 13)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        first = piece * each
        to = out + first * 4 * count * width
        mine = min(each, rows - first)
        _blocks(mine, x + first * row, row, weight, sources, count, terms, depth, width, bias, to)


@fast_kernel
def diagonals(p):
    """out[t, s, l] = Σ_r x[t, r, l] weight[s, r, l]."""
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, weight, width, depth, across = argument(p, 4), argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8)
    out = argument(p, 9)
    row = 4 * depth * across
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        first = piece * each
        mine = min(each, rows - first)
        _diagonals(mine, x + first * row, row, weight, width, depth, across, 0, out + first * 4 * width * across)


@fast_kernel
def shuffled(p):
    """Block diagonal, then diagonals of blocks: what lies between, eight rows for each piece, stays in the cache."""
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, weight, sources = argument(p, 4), argument(p, 5), argument(p, 6)
    count, depth, width = argument(p, 7), argument(p, 8), argument(p, 9)
    second, out_width, sums, across = argument(p, 10), argument(p, 11), argument(p, 12), argument(p, 13)
    bias, middle, out = argument(p, 14), argument(p, 15), argument(p, 16)
    row, middle_row, out_row = 4 * count * depth, 4 * count * width, 4 * out_width * across
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        between = middle + middle_row * piece * ROWS
        for first in range(piece * each, min(rows, (piece + 1) * each), ROWS):
            mine = min(ROWS, rows - first)
            _blocks(mine, x + first * row, row, weight, sources, count, 1, depth, width, 0, between)
            _diagonals(mine, between, middle_row, second, out_width, sums, across, bias, out + first * out_row)
