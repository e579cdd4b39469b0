"""The way down a tree of decisions, for a few rows side by side: a piece of code for the kernels of trees."""

from numba import njit

from labkit.parts.kernels.cpu.lanes import LANES
from labkit.parts.kernels.cpu.rows import numbers_at, put_each, roots, rows_at, shifted, turned
from labkit.parts.kernels.cpu.tiles import along, loads, loads_some, plus, tile, totals

compiled = njit(cache=True, error_model="numpy")
# no fastmath: the order of the sums is written down, and the compiler must not choose another for another tile


@compiled
def scores_of(xs, ws, width):
    """Each row times its own weights: four sums a row, which do not wait for each other."""
    a, b, c, d = tile(xs, (1,)), tile(xs, (1,)), tile(xs, (1,)), tile(xs, (1,))
    step, place = 4 * LANES, 0
    while place + step <= width:
        a = along(a, loads(xs, place), loads(ws, place))
        b = along(b, loads(xs, place + LANES), loads(ws, place + LANES))
        c = along(c, loads(xs, place + 2 * LANES), loads(ws, place + 2 * LANES))
        d = along(d, loads(xs, place + 3 * LANES), loads(ws, place + 3 * LANES))
        place += step
    while place + LANES <= width:
        a = along(a, loads(xs, place), loads(ws, place))
        place += LANES
    if place < width:
        b = along(b, loads_some(xs, place, width - place), loads_some(ws, place, width - place))
    return totals(plus(plus(a, b), plus(c, d)))


@compiled
def down(xs, weight, bias, width, depth, nodes_to, scores_to, first, stride):
    """The places where these rows end below the last level. Nodes and scores are written where they are wanted."""
    places = roots(xs)
    for level in range(depth):
        start = (1 << level) - 1
        ws = rows_at(weight + 4 * width * start, places, width)
        scores = plus(scores_of(xs, ws, width), numbers_at(bias + 4 * start, places))
        if nodes_to:
            put_each(nodes_to, first + level, stride, shifted(places, start))
        if scores_to:
            put_each(scores_to, first + level, stride, scores)
        places = turned(places, scores)
    return places
