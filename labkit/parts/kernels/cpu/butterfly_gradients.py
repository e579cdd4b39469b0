"""Compiled gradients of a butterfly product. What each factor was given is computed again, for eight rows at a time."""

from numba import njit

from labkit.parts.kernels.cpu.butterfly import INSIDE, ROWS, inside, one
from labkit.parts.kernels.cpu.exchange import swapped
from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import FAST, LANES, argument, fma, load, multiply, store, ticket, zeros


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _one_back(rows, x, factors, slopes, n, far, slope):
    """The gradients at one factor: of its shares, added to `slopes`, and of its inputs, in the place of `slope`."""
    share = 4 * n
    for block in range(0, n, 2 * far):
        for place in range(block, block + far, LANES):
            other = place + far
            keep0, keep1 = load(factors, place), load(factors, other)
            mix0, mix1 = load(factors + share, place), load(factors + share, other)
            own0, own1 = load(slopes, place), load(slopes, other)
            cross0, cross1 = load(slopes + share, place), load(slopes + share, other)
            for row in range(rows):
                a, b = load(x + row * share, place), load(x + row * share, other)
                g, h = load(slope + row * share, place), load(slope + row * share, other)
                own0, own1 = fma(g, a, own0), fma(h, b, own1)
                cross0, cross1 = fma(g, b, cross0), fma(h, a, cross1)
                store(slope + row * share, place, fma(keep0, g, multiply(mix1, h)))
                store(slope + row * share, other, fma(keep1, h, multiply(mix0, g)))
            store(slopes, place, own0)
            store(slopes, other, own1)
            store(slopes + share, place, cross0)
            store(slopes + share, other, cross1)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _inside_back(rows, x, factors, slopes, n, slope):
    """As `_one_back`, for the factors within one vector, whose inputs are computed again."""
    share = 4 * n
    for place in range(0, n, LANES):
        keep0, mix0 = load(factors, place), load(factors + share, place)
        keep1, mix1 = load(factors + 2 * share, place), load(factors + 3 * share, place)
        keep2, mix2 = load(factors + 4 * share, place), load(factors + 5 * share, place)
        own0, cross0 = load(slopes, place), load(slopes + share, place)
        own1, cross1 = load(slopes + 2 * share, place), load(slopes + 3 * share, place)
        own2, cross2 = load(slopes + 4 * share, place), load(slopes + 5 * share, place)
        keep3, mix3, own3, cross3 = zeros(), zeros(), zeros(), zeros()
        if INSIDE == 4:
            keep3, mix3 = load(factors + 6 * share, place), load(factors + 7 * share, place)
            own3, cross3 = load(slopes + 6 * share, place), load(slopes + 7 * share, place)
        for row in range(rows):
            a = load(x + row * share, place)
            b = fma(keep0, a, multiply(mix0, swapped(a, 1)))
            c = fma(keep1, b, multiply(mix1, swapped(b, 2)))
            g = load(slope + row * share, place)
            if INSIDE == 4:
                d = fma(keep2, c, multiply(mix2, swapped(c, 4)))
                own3, cross3 = fma(g, d, own3), fma(g, swapped(d, 8), cross3)
                g = fma(keep3, g, swapped(multiply(mix3, g), 8))
            own2, cross2 = fma(g, c, own2), fma(g, swapped(c, 4), cross2)
            g = fma(keep2, g, swapped(multiply(mix2, g), 4))
            own1, cross1 = fma(g, b, own1), fma(g, swapped(b, 2), cross1)
            g = fma(keep1, g, swapped(multiply(mix1, g), 2))
            own0, cross0 = fma(g, a, own0), fma(g, swapped(a, 1), cross0)
            store(slope + row * share, place, fma(keep0, g, swapped(multiply(mix0, g), 1)))
        store(slopes, place, own0)
        store(slopes + share, place, cross0)
        store(slopes + 2 * share, place, own1)
        store(slopes + 3 * share, place, cross1)
        store(slopes + 4 * share, place, own2)
        store(slopes + 5 * share, place, cross2)
        if INSIDE == 4:
            store(slopes + 6 * share, place, own3)
            store(slopes + 7 * share, place, cross3)


@fast_kernel
def butterfly_back(p):
    """Gradients of x, in the place of those of the output, and of the factors, a share for each piece of the rows.

    What each factor was given is computed again, for eight rows at a time, into the piece's own part of `inputs`.
    """
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, factors, n, depth = argument(p, 4), argument(p, 5), argument(p, 6), argument(p, 7)
    slope, slopes, inputs = argument(p, 8), argument(p, 9), argument(p, 10)
    size = 4 * n * ROWS
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        own = slopes + piece * 8 * n * depth
        given = inputs + piece * size * (depth - INSIDE)
        for first in range(piece * each, min(rows, (piece + 1) * each), ROWS):
            mine, place = min(ROWS, rows - first), 4 * n * first
            if depth > INSIDE:
                inside(mine, x + place, factors, n, 0, n, 0, given)
            for s in range(INSIDE, depth - 1):
                at = given + (s - INSIDE) * size
                one(mine, at, factors + 8 * n * s, n, 1 << s, 0, n, 0, at + size)
            for s in range(depth - 1, INSIDE - 1, -1):
                at, share = given + (s - INSIDE) * size, 8 * n * s
                _one_back(mine, at, factors + share, own + share, n, 1 << s, slope + place)
            _inside_back(mine, x + place, factors, own, n, slope + place)
