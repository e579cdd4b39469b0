"""The gradients of spline edges, compiled; what stands in `places` is said in `splines`.

The gradient of the weights sorts the rows of each input by the first of its four functions: then a whole run of rows adds
to the same five rows of the gradient, whose sums stay in registers.
"""

from numba import njit, types

from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    add,
    argument,
    fma,
    load,
    load_some,
    multiply,
    number,
    put_number,
    spread,
    store_some,
    ticket,
    total,
    whole,
    zeros,
)
from labkit.parts.kernels.cpu.spline_places import LINE, ROW, six, spread_row
from labkit.parts.kernels.cpu.splines import STRIP, TILE, four, put_four, sort

SIDE = 24576
"""Bytes of the first cache that the weights of a few inputs may fill."""


@njit
def _mix(edges, dy, places, slots, outputs, begin, end, back):
    """The gradients of a few inputs of one row."""
    for i in range(begin, end):
        first = i * slots * outputs
        second = first + (1 + int(number(places, i))) * outputs
        third, fourth, fifth = second + outputs, second + 2 * outputs, second + 3 * outputs
        a, b = spread(number(places, i + 5 * LINE)), spread(number(places, i + LINE))
        c, d = spread(number(places, i + 2 * LINE)), spread(number(places, i + 3 * LINE))
        e = spread(number(places, i + 4 * LINE))
        even, odd, o = zeros(), zeros(), 0
        while o + 2 * LANES <= outputs:
            mix = fma(b, load(edges, second + o), multiply(a, load(edges, first + o)))
            mix = fma(d, load(edges, fourth + o), fma(c, load(edges, third + o), mix))
            even = fma(fma(e, load(edges, fifth + o), mix), load(dy, o), even)
            o += LANES
            mix = fma(b, load(edges, second + o), multiply(a, load(edges, first + o)))
            mix = fma(d, load(edges, fourth + o), fma(c, load(edges, third + o), mix))
            odd = fma(fma(e, load(edges, fifth + o), mix), load(dy, o), odd)
            o += LANES
        while o < outputs:
            n = min(LANES, outputs - o)
            mix = fma(b, load_some(edges, second + o, n), multiply(a, load_some(edges, first + o, n)))
            mix = fma(d, load_some(edges, fourth + o, n), fma(c, load_some(edges, third + o, n), mix))
            even = fma(fma(e, load_some(edges, fifth + o, n), mix), load_some(dy, o, n), even)
            o += LANES
        put_number(back, i, total(add(even, odd)))


@fast_kernel
def toward_inputs(p):
    """The gradient of x, a few rows a piece: each output's slope times the mix of five rows of the weights."""
    x, starts, steps, edges, slope, back = six(p, 2)
    working, rows, inputs, slots, outputs, share = six(p, 8)
    room = argument(p, 14)
    some = max(1, min(LINE, SIDE // (4 * slots * outputs)))
    while True:
        piece = ticket(p)
        if piece * share >= rows:
            break
        places = working + room * piece
        for start in range(piece * share, min(rows, (piece + 1) * share), STRIP):
            here = min(STRIP, min(rows, (piece + 1) * share) - start)
            for block in range(0, inputs, LINE):
                many = min(LINE, inputs - block)
                for row in range(here):
                    at = 4 * (inputs * (start + row) + block)
                    spread_row(
                        x + at, starts + 4 * block, steps + 4 * block, many, slots - 5, places + 4 * ROW * row, True
                    )
                weights, to = edges + 4 * block * slots * outputs, back + 4 * (inputs * start + block)
                for begin in range(0, many, some):
                    end = min(many, begin + some)
                    for row in range(here):
                        dy = slope + 4 * outputs * (start + row)
                        _mix(weights, dy, places + 4 * ROW * row, slots, outputs, begin, end, to + 4 * inputs * row)


@njit
def _run(order, begin, end, slope, outputs, back, first, second):
    """Adds what a run of rows says to five rows of the gradient, 4 vectors of each."""
    a0, a1, a2, a3, b0, b1, b2, b3 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    c0, c1, c2, c3, d0, d1, d2, d3 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    e0, e1, e2, e3 = zeros(), zeros(), zeros(), zeros()
    for place in range(6 * begin, 6 * end, 6):
        w0, w1, w2, w3 = four(slope, int(number(order, place)) * TILE)
        by = spread(number(order, place + 1))
        b0, b1, b2, b3 = fma(by, w0, b0), fma(by, w1, b1), fma(by, w2, b2), fma(by, w3, b3)
        by = spread(number(order, place + 2))
        c0, c1, c2, c3 = fma(by, w0, c0), fma(by, w1, c1), fma(by, w2, c2), fma(by, w3, c3)
        by = spread(number(order, place + 3))
        d0, d1, d2, d3 = fma(by, w0, d0), fma(by, w1, d1), fma(by, w2, d2), fma(by, w3, d3)
        by = spread(number(order, place + 4))
        e0, e1, e2, e3 = fma(by, w0, e0), fma(by, w1, e1), fma(by, w2, e2), fma(by, w3, e3)
        by = spread(number(order, place + 5))
        a0, a1, a2, a3 = fma(by, w0, a0), fma(by, w1, a1), fma(by, w2, a2), fma(by, w3, a3)
    _more(back, first, a0, a1, a2, a3)
    _more(back, second, b0, b1, b2, b3)
    _more(back, second + outputs, c0, c1, c2, c3)
    _more(back, second + 2 * outputs, d0, d1, d2, d3)
    _more(back, second + 3 * outputs, e0, e1, e2, e3)


@njit
def _more(back, at, a, b, c, d):
    w, x, y, z = four(back, at)
    put_four(back, at, add(w, a), add(x, b), add(y, c), add(z, d))


@njit
def _some(order, begin, end, slope, outputs, back, first, second, count):
    """The same for one vector or the `count` outputs that are left."""
    a, b, c, d, e = zeros(), zeros(), zeros(), zeros(), zeros()
    for place in range(6 * begin, 6 * end, 6):
        dy = load_some(slope, int(number(order, place)) * outputs, count)
        b, c = fma(spread(number(order, place + 1)), dy, b), fma(spread(number(order, place + 2)), dy, c)
        d, e = fma(spread(number(order, place + 3)), dy, d), fma(spread(number(order, place + 4)), dy, e)
        a = fma(spread(number(order, place + 5)), dy, a)
    store_some(back, first, add(load_some(back, first, count), a), count)
    for sums in (b, c, d, e):
        store_some(back, second, add(load_some(back, second, count), sums), count)
        second += outputs


@fast_kernel
def toward_edges(p):
    """The gradient of the weights, a block of inputs a piece. `room`: bytes of working space of each piece."""
    x, starts, steps, slope, back, working = six(p, 2)
    rows, inputs, slots, outputs = argument(p, 8), argument(p, 9), argument(p, 10), argument(p, 11)
    room, cells = argument(p, 12), slots - 4
    while True:
        piece = ticket(p)
        start = piece * LINE
        if start >= inputs:
            break
        places = working + room * piece
        order = places + 4 * ROW * STRIP
        ends = order + 24 * STRIP * LINE
        tile = ends + 8 * LINE * slots
        here = min(LINE, inputs - start)
        mine = back + 4 * start * slots * outputs
        for place in range(here * slots * outputs):
            put_number(mine, place, types.float32(0.0))
        for strip in range(0, rows, STRIP):
            many = min(STRIP, rows - strip)
            for row in range(many):
                at = 4 * (inputs * (strip + row) + start)
                spread_row(
                    x + at, starts + 4 * start, steps + 4 * start, here, slots - 5, places + 4 * ROW * row, False
                )
            for i in range(here):
                sort(places, i, many, cells, order + 24 * STRIP * i, ends + 8 * (cells + 1) * i)
            column, dy = 0, slope + 4 * outputs * strip
            while column < outputs:
                at, wide = 4 * column, column + TILE <= outputs
                if wide:
                    for row in range(many):
                        a, b, c, d = four(dy, outputs * row + column)
                        put_four(tile, TILE * row, a, b, c, d)
                for i in range(here):
                    begin = 0
                    first, sorted_ = i * slots * outputs, order + 24 * STRIP * i
                    for cell in range(cells):
                        end = whole(ends, (cells + 1) * i + cell)
                        second = first + (1 + cell) * outputs
                        if end > begin and wide:
                            _run(sorted_, begin, end, tile, outputs, mine + at, first, second)
                        elif end > begin:
                            count = min(LANES, outputs - column)
                            _some(sorted_, begin, end, dy + at, outputs, mine + at, first, second, count)
                        begin = end
                column += TILE if wide else LANES
