"""Spline edges, compiled: of all basis functions only the four that are not zero at a number are ever touched.

A first pass turns the numbers x_i of some rows and a few inputs into six each: which basis function is the first of its
four, the values of the four, and the silu (for the way back their derivatives). With them a row of the output is a sum of
five rows of the weights for each input. The rows of each input are sorted by their first function: then a whole run of
rows needs the same five rows of the weights, which stay in registers. Few rows are summed one by one, in the same order.

Places of one row: six lines of LINE numbers: first, four values, silu. In the order each row has six numbers together:
which row, four values, silu.
"""

from numba import njit, types

from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    add,
    fma,
    load,
    load_some,
    number,
    put_number,
    put_whole,
    spread,
    store,
    store_some,
    ticket,
    whole,
    zeros,
)
from labkit.parts.kernels.cpu.spline_places import LINE, ROW, six, spread_row

STRIP = 128
"""Rows that go through together: a tile of their outputs fits the first cache."""
TILE = 4 * LANES
"""Outputs of a row of a tile. Tiles stand by themselves while they grow, for rows of the output that are a power of 2 apart
would push each other out of the cache."""
WORTH = 6
"""Rows for each first function from which on sorting them pays."""


@njit
def sort(places, i, rows, cells, order, ends):
    """The rows of one input by their first function, each with its five values; `ends` says where each function's end."""
    for cell in range(cells + 1):
        put_whole(ends, cell, 0)
    for row in range(rows):
        cell = int(number(places, ROW * row + i)) + 1
        put_whole(ends, cell, whole(ends, cell) + 1)
    for cell in range(cells):
        put_whole(ends, cell + 1, whole(ends, cell + 1) + whole(ends, cell))
    for row in range(rows):
        at = ROW * row + i
        cell = int(number(places, at))
        place = whole(ends, cell)
        put_whole(ends, cell, place + 1)
        place *= 6
        put_number(order, place, types.float32(row))
        put_number(order, place + 1, number(places, at + LINE))
        put_number(order, place + 2, number(places, at + 2 * LINE))
        put_number(order, place + 3, number(places, at + 3 * LINE))
        put_number(order, place + 4, number(places, at + 4 * LINE))
        put_number(order, place + 5, number(places, at + 5 * LINE))


@njit
def _runs(order, ends, cells, edges, y, outputs):
    """What one input adds to a tile of the output."""
    begin = 0
    for cell in range(cells):
        end = whole(ends, cell)
        if end > begin:
            _run(order, begin, end, edges, y, outputs, 0, (1 + cell) * outputs)
        begin = end


@njit
def _clear(address, count):
    for place in range(count):
        put_number(address, place, types.float32(0.0))


@njit
def _run(order, begin, end, edges, y, outputs, first, second):
    """Adds five rows of the weights, which stay in registers, to a run of rows of the output: 4 vectors of each."""
    a0, a1, a2, a3 = four(edges, first)
    b0, b1, b2, b3 = four(edges, second)
    c0, c1, c2, c3 = four(edges, second + outputs)
    d0, d1, d2, d3 = four(edges, second + 2 * outputs)
    e0, e1, e2, e3 = four(edges, second + 3 * outputs)
    for place in range(6 * begin, 6 * end, 6):
        at = int(number(order, place)) * TILE
        y0, y1, y2, y3 = four(y, at)
        by = spread(number(order, place + 5))
        y0, y1, y2, y3 = fma(by, a0, y0), fma(by, a1, y1), fma(by, a2, y2), fma(by, a3, y3)
        by = spread(number(order, place + 1))
        y0, y1, y2, y3 = fma(by, b0, y0), fma(by, b1, y1), fma(by, b2, y2), fma(by, b3, y3)
        by = spread(number(order, place + 2))
        y0, y1, y2, y3 = fma(by, c0, y0), fma(by, c1, y1), fma(by, c2, y2), fma(by, c3, y3)
        by = spread(number(order, place + 3))
        y0, y1, y2, y3 = fma(by, d0, y0), fma(by, d1, y1), fma(by, d2, y2), fma(by, d3, y3)
        by = spread(number(order, place + 4))
        y0, y1, y2, y3 = fma(by, e0, y0), fma(by, e1, y1), fma(by, e2, y2), fma(by, e3, y3)
        put_four(y, at, y0, y1, y2, y3)


@njit
def four(address, place):
    return (
        load(address, place),
        load(address, place + LANES),
        load(address, place + 2 * LANES),
        load(address, place + 3 * LANES),
    )


@njit
def put_four(address, place, a, b, c, d):
    store(address, place, a)
    store(address, place + LANES, b)
    store(address, place + 2 * LANES, c)
    store(address, place + 3 * LANES, d)


@njit
def _four(edges, y, places, slots, outputs, rows, inputs):
    """The same sums in the same order, row by row: 4 vectors of outputs, over a few inputs."""
    for row in range(rows):
        own = ROW * row
        a, b, c, d = four(y, row * TILE)
        for i in range(inputs):
            w = i * slots * outputs
            second = w + (1 + int(number(places, own + i))) * outputs
            by = spread(number(places, own + 5 * LINE + i))
            for j in range(4):
                w0, w1, w2, w3 = four(edges, w)
                a, b, c, d = fma(by, w0, a), fma(by, w1, b), fma(by, w2, c), fma(by, w3, d)
                by = spread(number(places, own + (j + 1) * LINE + i))
                w = second + j * outputs
            w0, w1, w2, w3 = four(edges, w)
            a, b, c, d = fma(by, w0, a), fma(by, w1, b), fma(by, w2, c), fma(by, w3, d)
        put_four(y, row * TILE, a, b, c, d)


@njit
def _some(edges, y, places, slots, outputs, rows, inputs, count):
    """The same for one vector or the `count` outputs that are left, with three sums under way at once."""
    for row in range(rows):
        own, a, b, c = ROW * row, load_some(y, row * outputs, count), zeros(), zeros()
        for i in range(inputs):
            w = i * slots * outputs
            a = fma(spread(number(places, own + 5 * LINE + i)), load_some(edges, w, count), a)
            w += (1 + int(number(places, own + i))) * outputs
            b = fma(spread(number(places, own + LINE + i)), load_some(edges, w, count), b)
            c = fma(spread(number(places, own + 2 * LINE + i)), load_some(edges, w + outputs, count), c)
            w += 2 * outputs
            b = fma(spread(number(places, own + 3 * LINE + i)), load_some(edges, w, count), b)
            c = fma(spread(number(places, own + 4 * LINE + i)), load_some(edges, w + outputs, count), c)
        store_some(y, row * outputs, add(a, add(b, c)), count)


@fast_kernel
def forward(p):
    """y from x, a few rows a piece. `room`: bytes of working space of each piece."""
    x, starts, steps, edges, y, working = six(p, 2)
    rows, inputs, slots, outputs, share, room = six(p, 8)
    cells = slots - 4
    while True:
        piece = ticket(p)
        if piece * share >= rows:
            break
        places = working + room * piece
        order = places + 4 * ROW * STRIP
        ends = order + 24 * STRIP * LINE
        tiles = ends + 8 * LINE * slots
        wide = outputs // TILE * TILE
        for start in range(piece * share, min(rows, (piece + 1) * share), STRIP):
            here = min(STRIP, min(rows, (piece + 1) * share) - start)
            out = y + 4 * outputs * start
            _clear(tiles, wide * STRIP)
            _clear(out, here * outputs if wide < outputs else 0)
            sorted_ = here >= WORTH * cells and wide >= 3 * TILE
            for block in range(0, inputs, LINE):
                many = min(LINE, inputs - block)
                for row in range(here):
                    at, own = 4 * (inputs * (start + row) + block), places + 4 * ROW * row
                    spread_row(x + at, starts + 4 * block, steps + 4 * block, many, slots - 5, own, False)
                if sorted_:
                    for i in range(many):
                        sort(places, i, here, cells, order + 24 * STRIP * i, ends + 8 * (cells + 1) * i)
                weights = edges + 4 * block * slots * outputs
                for column in range(0, wide, TILE):
                    at, to = weights + 4 * column, tiles + 4 * STRIP * column
                    if sorted_:
                        for i in range(many):
                            _runs(order + 24 * STRIP * i, ends + 8 * (cells + 1) * i, cells, at, to, outputs)
                            at += 4 * slots * outputs
                    else:
                        _four(at, to, places, slots, outputs, here, many)
                for column in range(wide, outputs, LANES):
                    count = min(LANES, outputs - column)
                    _some(weights + 4 * column, out + 4 * column, places, slots, outputs, here, many, count)
            for column in range(0, wide, TILE):
                for row in range(here):
                    a, b, c, d = four(tiles, STRIP * column + TILE * row)
                    put_four(out, outputs * row + column, a, b, c, d)
