"""Compiled trees of neurons: every neuron on the way down says something, and what they say is added up.

Sums have one order whatever else is computed beside them, so an input's answer does not depend on its batch.
"""

import math

from numba import njit, types

from labkit.parts.kernels.cpu.descent import down
from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import LANES, argument, number, put_number, put_whole, ticket, whole
from labkit.parts.kernels.cpu.rows import beside
from labkit.parts.kernels.cpu.tiles import loads, loads_some, outer, put, put_some, scratch, spreads, tile

CHUNK = 16
"""Inputs in a piece of work."""
MET = 512
"""Neurons at most that one input meets, in all trees."""
SCORES, NODES = 4 * MET, 8 * MET
"""Room for four inputs: float32 scores, and int64 nodes which take two places each."""
EIGHT = (0, 1, 2, 3, 4, 5, 6, 7)

compiled = njit(cache=True, error_model="numpy")


@compiled
def gelu(value):
    """x Φ(x)."""
    return (
        types.float32(0.5)
        * value
        * (types.float32(1) + types.float32(math.erf(value * types.float32(0.70710678118654752))))
    )


@compiled
def said(values, nodes, met, table, out, width):
    """out = Σ values_k table[nodes_k], over the neurons met."""
    size, place, step = 4 * width, 0, 8 * LANES
    while place + step <= width:
        sums = tile((values,), EIGHT)
        for k in range(met):
            sums = outer(sums, spreads((values,), k), loads(beside(table + whole(nodes, k) * size, EIGHT), place))
        put((out,), place, sums)
        place += step
    while place < width:
        left = min(LANES, width - place)
        one = tile((values,), (0,))
        for k in range(met):
            one = outer(one, spreads((values,), k), loads_some((table + whole(nodes, k) * size,), place, left))
        put_some((out,), place, one, left)
        place += left


@kernel
def paths_said(p):
    """What the neurons at `nodes` (rows, met) say whose scores (rows, met) are known."""
    rows, met, nodes, scores = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    table, out, width, pieces = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 1)
    values = scratch(MET)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for row in range(piece * CHUNK, min(rows, (piece + 1) * CHUNK)):
            for k in range(met):
                put_number(values, k, gelu(number(scores, row * met + k)))
            said(values, nodes + 8 * row * met, met, table, out + 4 * row * width, width)


@compiled
def counted_on(nodes, met, depth, size):
    """Makes places in each tree places in the table of all trees."""
    for k in range(met):
        put_whole(nodes, k, whole(nodes, k) + k // depth * size)


@kernel
def answer(p):
    """Each row down every tree, and what the neurons on its way say, at once."""
    x, rows, width, weight, bias = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    depth, trees, table, out, out_width = (
        argument(p, 7),
        argument(p, 8),
        argument(p, 9),
        argument(p, 10),
        argument(p, 11),
    )
    size, met, pieces, wide = (1 << depth) - 1, trees * depth, argument(p, 1), 4 * width
    scores, nodes = scratch(SCORES), scratch(NODES)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        row, last = piece * CHUNK, min(rows, (piece + 1) * CHUNK)
        while row < last:
            together = 4 if row + 4 <= last else 1
            at = x + row * wide
            for tree in range(trees):
                own, off, first = weight + tree * size * wide, bias + 4 * tree * size, tree * depth
                if together == 4:
                    four = (at, at + wide, at + 2 * wide, at + 3 * wide)
                    down(four, own, off, width, depth, nodes, scores, first, met)
                else:
                    down((at,), own, off, width, depth, nodes, scores, first, met)
            for i in range(together):
                own = nodes + 8 * i * met
                counted_on(own, met, depth, size)
                for k in range(met):
                    put_number(scores, i * met + k, gelu(number(scores, i * met + k)))
                said(scores + 4 * i * met, own, met, table, out + 4 * (row + i) * out_width, out_width)
            row += together
