"""Compiled trees: the way down, and the small networks at its end.

Addresses and sizes come as arguments from place 2 on, in the order in which each kernel reads them. Sums have one order
whatever else is computed beside them, so an input's answer does not depend on its batch, nor on the number of threads.
"""

from numba import njit

from labkit.parts.kernels.cpu.descent import down
from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import LANES, argument, put_whole, store, store_some, ticket, whole, zeros
from labkit.parts.kernels.cpu.rows import picked, rows_at
from labkit.parts.kernels.cpu.small_networks import EIGHT, FOUR, HIDDEN, SIX, THREE, TOGETHER, through
from labkit.parts.kernels.cpu.tiles import scratch

CHUNK = 16
"""Inputs in a piece of work of the descent."""
ROOM = TOGETHER * HIDDEN
SMALL = 2**14
"""Numbers of one weight of a network up to which the next network is asked for early, and not the rest of this one."""

compiled = njit(cache=True, error_model="numpy")


@kernel
def descend(p):
    """Each row through each tree. Nodes and scores have a place for (row, tree, level), ends for (row, tree)."""
    x, rows, width, weight, bias = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    depth, trees, ends, nodes_to, scores_to = (
        argument(p, 7),
        argument(p, 8),
        argument(p, 9),
        argument(p, 10),
        argument(p, 11),
    )
    nodes, size, pieces = (1 << depth) - 1, 4 * width, argument(p, 1)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        last = min(rows, (piece + 1) * CHUNK)
        for tree in range(trees):
            own, offsets = weight + tree * nodes * size, bias + 4 * tree * nodes
            row = piece * CHUNK
            while row + 4 <= last:
                at = x + row * size
                xs = (at, at + size, at + 2 * size, at + 3 * size)
                first = (row * trees + tree) * depth
                places = down(xs, own, offsets, width, depth, nodes_to, scores_to, first, trees * depth)
                for i in range(4):
                    put_whole(ends, (row + i) * trees + tree, places[i])
                row += 4
            while row < last:
                first = (row * trees + tree) * depth
                places = down((x + row * size,), own, offsets, width, depth, nodes_to, scores_to, first, 0)
                put_whole(ends, row * trees + tree, places[0])
                row += 1


@kernel
def sort(p):
    """Order of rows by end, by counting: `counts` has room for choices + 1. Rows that end nowhere (-1) come first."""
    ends, rows, choices, counts, order = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    for choice in range(choices + 1):
        put_whole(counts, choice, 0)
    for row in range(rows):
        end = whole(ends, row) + 1
        put_whole(counts, end, whole(counts, end) + 1)
    before = 0
    for choice in range(choices + 1):
        here = whole(counts, choice)
        put_whole(counts, choice, before)
        before += here
    for row in range(rows):
        end = whole(ends, row) + 1
        place = whole(counts, end)
        put_whole(order, place, row)
        put_whole(counts, end, place + 1)


@compiled
def nothing(out, width):
    """Zeros for a row that ends nowhere."""
    place = 0
    while place + LANES <= width:
        store(out, place, zeros())
        place += LANES
    if place < width:
        store_some(out, place, zeros(), width - place)


@kernel
def leaves(p):
    """Each row through the network where it ended, in the given order, `chunk` rows a piece."""
    x, rows, width, ends, order, chunk = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 7),
    )
    w1, b1, w2, b2, hidden, out, out_width = (
        argument(p, 8),
        argument(p, 9),
        argument(p, 10),
        argument(p, 11),
        argument(p, 12),
        argument(p, 13),
        argument(p, 14),
    )
    room, pieces, wide, size = scratch(ROOM), argument(p, 1), 4 * width, 4 * out_width
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        at, last = piece * chunk, min(rows, (piece + 1) * chunk)
        while at < last:
            end, here = whole(ends, whole(order, at)), at
            while at < last and whole(ends, whole(order, at)) == end:
                at += 1
            if end < 0:
                for place in range(here, at):
                    nothing(out + whole(order, place) * size, out_width)
                continue
            own, off, back, behind = (
                w1 + end * hidden * wide,
                b1 + 4 * end * hidden,
                w2 + end * hidden * size,
                b2 + end * size,
            )
            # The rows after the first few find the weights in a near cache. Of a small network nothing is left to ask for
            # when it has begun: its last rows ask for the next one.
            small = hidden * width <= SMALL and at < last
            fresh, after = 1, whole(ends, whole(order, at)) - end if small else 0
            while at - here > 3:
                several = picked(order, here, at - here, SIX)
                xs, ys = rows_at(x, several, width), rows_at(out, several, out_width)
                through(
                    xs,
                    ys,
                    room,
                    own,
                    off,
                    back,
                    behind,
                    width,
                    hidden,
                    out_width,
                    FOUR,
                    fresh,
                    after if at - here <= 6 else 0,
                )
                here, fresh = here + 6, 0
            while at - here > 1:
                few = picked(order, here, at - here, THREE)
                us, vs = rows_at(x, few, width), rows_at(out, few, out_width)
                through(
                    us,
                    vs,
                    room,
                    own,
                    off,
                    back,
                    behind,
                    width,
                    hidden,
                    out_width,
                    FOUR,
                    fresh,
                    after if at - here <= 3 else 0,
                )
                here, fresh = here + 3, 0
            if here < at:
                i = whole(order, here)
                one, its = (x + i * wide,), (out + i * size,)
                through(one, its, room, own, off, back, behind, width, hidden, out_width, EIGHT, fresh, after)


@kernel
def answer(p):
    """Each row down the tree and through its leaf at once, four rows a piece: for few rows."""
    x, rows, width, weight, bias, depth = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 7),
    )
    w1, b1, w2, b2, hidden, out, out_width = (
        argument(p, 8),
        argument(p, 9),
        argument(p, 10),
        argument(p, 11),
        argument(p, 12),
        argument(p, 13),
        argument(p, 14),
    )
    room, pieces, wide, size = scratch(ROOM), argument(p, 1), 4 * width, 4 * out_width
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        row, last = 4 * piece, min(rows, 4 * piece + 4)
        many = row + 4 <= last
        at = x + row * wide
        if many:
            four = down((at, at + wide, at + 2 * wide, at + 3 * wide), weight, bias, width, depth, 0, 0, 0, 0)
        else:
            four = (0, 0, 0, 0)
        while row < last:
            if many:
                end = four[row - 4 * piece]
            else:
                end = down((x + row * wide,), weight, bias, width, depth, 0, 0, 0, 0)[0]
            through(
                (x + row * wide,),
                (out + row * size,),
                room,
                w1 + end * hidden * wide,
                b1 + 4 * end * hidden,
                w2 + end * hidden * size,
                b2 + end * size,
                width,
                hidden,
                out_width,
                EIGHT,
                0,
                0,
            )
            row += 1
