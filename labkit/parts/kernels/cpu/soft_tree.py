"""Compiled pieces of a soft tree's training step: the share of each leaf, and hidden values weighted by it."""

from numba import njit, types

from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    argument,
    fma,
    load,
    load_some,
    multiply,
    number,
    positive,
    put_number,
    relu,
    spread,
    store,
    store_some,
    ticket,
    total,
    zeros,
)

CHUNK = 8
"""Rows in a piece of work."""

compiled = njit(cache=True, error_model="numpy")


@kernel
def shares(p):
    """shares (rows, leaves) = products along the paths of right and left (rows, nodes)."""
    right, left, out, rows, leaves, pieces = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 1),
    )
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for row in range(piece * CHUNK, min(rows, (piece + 1) * CHUNK)):
            own, go_right, go_left = (
                out + 4 * row * leaves,
                right + 4 * row * (leaves - 1),
                left + 4 * row * (leaves - 1),
            )
            put_number(own, 0, types.float32(1))
            wide = 1
            while wide < leaves:  # the level above is in places 0..wide-1; from the last on, each makes room for two
                for place in range(wide - 1, -1, -1):
                    reach = number(own, place)
                    node = wide - 1 + place
                    put_number(own, 2 * place + 1, reach * number(go_right, node))
                    put_number(own, 2 * place, reach * number(go_left, node))
                wide *= 2


@kernel
def shares_back(p):
    """Gradient of the scores (rows, nodes): left times what the right leaves say less right times what the left ones say.

    `said` (rows, leaves) is room: it holds share times gradient, then the sums of ever larger subtrees.
    """
    right, left, share, gradient = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    said, out, rows, leaves, pieces = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 1)
    nodes = leaves - 1
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for row in range(piece * CHUNK, min(rows, (piece + 1) * CHUNK)):
            own = said + 4 * row * leaves
            for leaf in range(leaves):
                put_number(own, leaf, number(share, row * leaves + leaf) * number(gradient, row * leaves + leaf))
            wide = leaves // 2
            while wide:
                for place in range(wide):
                    node = row * nodes + wide - 1 + place
                    of_left, of_right = number(own, 2 * place), number(own, 2 * place + 1)
                    put_number(out, node, number(left, node) * of_right - number(right, node) * of_left)
                    put_number(own, place, of_left + of_right)
                wide //= 2


@kernel
def weighted(p):
    """out (rows, leaves, hidden) = relu(z) times the share of the leaf."""
    z, share, out, rows, leaves, hidden = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 7),
    )
    pieces, even = argument(p, 1), hidden // LANES * LANES
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for leaf in range(piece * CHUNK * leaves, min(rows, (piece + 1) * CHUNK) * leaves):
            weight, start = spread(number(share, leaf)), leaf * hidden
            for unit in range(0, even, LANES):
                store(out, start + unit, multiply(relu(load(z, start + unit)), weight))
            if even < hidden:
                rest = hidden - even
                store_some(out, start + even, multiply(relu(load_some(z, start + even, rest)), weight), rest)


@kernel
def weighted_back(p):
    """Gradients of z and of the shares: g share where z > 0, and the sum of g relu(z) over a leaf's units."""
    z, share, gradient, for_z, for_share = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
    )
    rows, leaves, hidden, pieces = argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 1)
    even = hidden // LANES * LANES
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for leaf in range(piece * CHUNK * leaves, min(rows, (piece + 1) * CHUNK) * leaves):
            weight, start, summed = spread(number(share, leaf)), leaf * hidden, zeros()
            for unit in range(start, start + even, LANES):
                value, back = load(z, unit), load(gradient, unit)
                summed = fma(back, relu(value), summed)
                store(for_z, unit, positive(value, multiply(back, weight)))
            if even < hidden:
                unit, rest = start + even, hidden - even
                value, back = load_some(z, unit, rest), load_some(gradient, unit, rest)
                summed = fma(back, relu(value), summed)
                store_some(for_z, unit, positive(value, multiply(back, weight)), rest)
            put_number(for_share, leaf, total(summed))
