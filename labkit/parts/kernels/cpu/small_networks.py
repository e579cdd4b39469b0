"""A small two-layer network on a few rows, both layers in one go: a piece of code for kernels of trees and of experts."""

from numba import njit

from labkit.parts.kernels.cpu.lanes import LANES
from labkit.parts.kernels.cpu.rows import beside, places_of, put_rectified, rows_at
from labkit.parts.kernels.cpu.tiles import (
    copies,
    dot_sums,
    fetch_rows,
    loads,
    loads_some,
    outer,
    pick_up,
    put,
    put_some,
    spreads,
)

HIDDEN = 64
"""Hidden units whose values are kept at a time."""
TOGETHER = 6
"""Rows at most in a tile."""

compiled = njit(cache=True, error_model="numpy")
# no fastmath: the order of the sums is written down, and the compiler must not choose another for another tile


ONE, THREE, FOUR = (0,), (0, 1, 2), (0, 1, 2, 3)
SIX, EIGHT = (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6, 7)


@compiled
def hidden_of(xs, rooms, weight, bias, width, count, fresh, then):
    """Rectified hidden values of these rows, written to their rooms: weight (count, width).

    Meanwhile it asks for what lies `then` numbers further on, or for what comes next of a `fresh` weight; 0 is neither.
    """
    size, unit = 4 * width, 0
    while unit + 4 <= count:
        ahead = then if then else 4 * width if fresh and unit + 8 <= count else 0
        sums = dot_sums(xs, rows_at(weight + unit * size, FOUR, width), width, ahead)
        put_rectified(rooms, unit, sums, bias + 4 * unit, FOUR)
        unit += 4
    while unit < count:
        put_rectified(rooms, unit, dot_sums(xs, (weight + unit * size,), width, 0), bias + 4 * unit, ONE)
        unit += 1


@compiled
def out_of(rooms, outs, weight, bias, begins, count, out_width, wide, fresh, then):
    """Adds hidden values times weight (count, out_width) to what stands in `outs`, or to the bias at the beginning.

    `fresh` and `then` as in `hidden_of`.
    """
    place, step, size = 0, LANES * len(wide), 4 * out_width
    while place + step <= out_width:
        if begins:
            sums = copies(outs, loads(beside(bias, wide), place))
        else:
            sums = pick_up(outs, place, wide)
        ahead = then if then else step if fresh and place + 2 * step <= out_width else 0
        if ahead:
            for unit in range(count):
                fetch_rows(beside(weight + unit * size, wide), place + ahead)
                sums = outer(sums, spreads(rooms, unit), loads(beside(weight + unit * size, wide), place))
        else:
            for unit in range(count):
                sums = outer(sums, spreads(rooms, unit), loads(beside(weight + unit * size, wide), place))
        put(outs, place, sums)
        place += step
    while place < out_width:
        left = min(LANES, out_width - place)
        one = copies(outs, loads_some((bias,), place, left)) if begins else loads_some(outs, place, left)
        for unit in range(count):
            one = outer(one, spreads(rooms, unit), loads_some((weight + unit * size,), place, left))
        put_some(outs, place, one, left)
        place += left


@compiled
def through(xs, outs, room, w1, b1, w2, b2, width, hidden, out_width, wide, fresh, after):
    """A small network on a few rows: relu(x w1ᵀ + b1) w2 + b2. Its sums have one order, whatever the number of rows.

    `fresh`: its weights come from far, so they are asked for early. `after`: so many networks further on lies the one that
    comes next, and is asked for instead; 0 is none.
    """
    rooms = rows_at(room, places_of(xs), HIDDEN)
    for unit in range(0, hidden, HIDDEN):
        count = min(HIDDEN, hidden - unit)
        hidden_of(xs, rooms, w1 + 4 * unit * width, b1 + 4 * unit, width, count, fresh, after * hidden * width)
        begins, there = unit == 0, after * hidden * out_width
        out_of(rooms, outs, w2 + 4 * unit * out_width, b2, begins, count, out_width, wide, fresh, there)


@compiled
def through_rooms(xs, rooms, outs, w1, b1, w2, b2, width, hidden, out_width, wide, fresh):
    """The same where there is room for all hidden values of each row: there they stay."""
    hidden_of(xs, rooms, w1, b1, width, hidden, fresh, 0)
    out_of(rooms, outs, w2, b2, True, hidden, out_width, wide, fresh, 0)
