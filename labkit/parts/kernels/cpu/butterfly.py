"""Compiled butterfly products: eight rows at a time stay in the cache for all factors.

Factor s gives position i a share of its own number and of the one at i XOR 2^s. The first few factors exchange numbers
inside a vector, by shuffles; the others exchange whole vectors, two factors at a time, with the shares of sixteen
vectors held in registers while the rows go by. Nothing is transposed. Rows longer than 1024 go through the near factors
in parts of 1024, so that these parts stay in the first cache.
"""

from numba import njit

from labkit.parts.kernels.cpu.exchange import swapped
from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import FAST, LANES, argument, fma, load, multiply, store, ticket, zeros

ROWS = 8
PART = 1024
INSIDE = 4 if LANES == 16 else 3
"""How many factors exchange numbers within one vector."""


@njit(cache=True, error_model="numpy", fastmath=FAST)
def inside(rows, x, factors, n, start, length, bias, out):
    """The factors that exchange numbers within one vector, from x to out."""
    share = 4 * n
    for place in range(start, start + length, LANES):
        keep0, mix0 = load(factors, place), load(factors + share, place)
        keep1, mix1 = load(factors + 2 * share, place), load(factors + 3 * share, place)
        keep2, mix2 = load(factors + 4 * share, place), load(factors + 5 * share, place)
        keep3, mix3, base = zeros(), zeros(), zeros()
        if INSIDE == 4:
            keep3, mix3 = load(factors + 6 * share, place), load(factors + 7 * share, place)
        if bias:
            base = load(bias, place)
        none = zeros()
        last = base if INSIDE == 3 else none
        for row in range(rows):
            one = load(x + row * share, place)
            one = fma(keep0, one, multiply(mix0, swapped(one, 1)))
            one = fma(keep1, one, multiply(mix1, swapped(one, 2)))
            one = fma(keep2, one, fma(mix2, swapped(one, 4), last))
            if INSIDE == 4:
                one = fma(keep3, one, fma(mix3, swapped(one, 8), base))
            store(out + row * share, place, one)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def one(rows, x, factors, n, far, start, length, bias, out):
    """One factor between vectors that are `far` numbers apart."""
    share = 4 * n
    for block in range(start, start + length, 2 * far):
        for place in range(block, block + far, LANES):
            other = place + far
            keep0, keep1 = load(factors, place), load(factors, other)
            mix0, mix1 = load(factors + share, place), load(factors + share, other)
            base0, base1 = zeros(), zeros()
            if bias:
                base0, base1 = load(bias, place), load(bias, other)
            for row in range(rows):
                a, b = load(x + row * share, place), load(x + row * share, other)
                store(out + row * share, place, fma(keep0, a, fma(mix0, b, base0)))
                store(out + row * share, other, fma(keep1, b, fma(mix1, a, base1)))


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _two(rows, factors, n, far, start, length, bias, out):
    """Two factors at once, in place: four vectors that are `far` numbers apart."""
    share = 4 * n
    mix, keep_next, mix_next = factors + share, factors + 2 * share, factors + 3 * share
    for block in range(start, start + length, 4 * far):
        for first in range(block, block + far, LANES):
            second, third, fourth = first + far, first + 2 * far, first + 3 * far
            keep0, keep1, keep2, keep3 = (
                load(factors, first),
                load(factors, second),
                load(factors, third),
                load(factors, fourth),
            )
            mix0, mix1, mix2, mix3 = load(mix, first), load(mix, second), load(mix, third), load(mix, fourth)
            then0, then1 = load(keep_next, first), load(keep_next, second)
            then2, then3 = load(keep_next, third), load(keep_next, fourth)
            with0, with1 = load(mix_next, first), load(mix_next, second)
            with2, with3 = load(mix_next, third), load(mix_next, fourth)
            base0, base1, base2, base3 = zeros(), zeros(), zeros(), zeros()
            if bias:
                base0, base1, base2, base3 = (
                    load(bias, first),
                    load(bias, second),
                    load(bias, third),
                    load(bias, fourth),
                )
            at = out
            for _ in range(rows):
                a, b, c, d = load(at, first), load(at, second), load(at, third), load(at, fourth)
                a, b = fma(keep0, a, multiply(mix0, b)), fma(keep1, b, multiply(mix1, a))
                c, d = fma(keep2, c, multiply(mix2, d)), fma(keep3, d, multiply(mix3, c))
                store(at, first, fma(then0, a, fma(with0, c, base0)))
                store(at, second, fma(then1, b, fma(with1, d, base1)))
                store(at, third, fma(then2, c, fma(with2, a, base2)))
                store(at, fourth, fma(then3, d, fma(with3, b, base3)))
                at += share


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _between(rows, factors, n, first, last, start, length, bias, out):
    """The factors from `first` up to, not including, `last`, in place; the bias with the last of them."""
    s = first
    while s + 1 < last:
        _two(rows, factors + 8 * n * s, n, 1 << s, start, length, bias if s + 2 == last else 0, out)
        s += 2
    if s < last:
        one(rows, out, factors + 8 * n * s, n, 1 << s, start, length, bias, out)


@fast_kernel
def butterfly(p):
    """out = the product of all factors, times x, + bias."""
    pieces, rows, each = argument(p, 1), argument(p, 2), argument(p, 3)
    x, factors, n, depth, bias, out = (
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 7),
        argument(p, 8),
        argument(p, 9),
    )
    length, near = n, depth
    if n > PART:
        length = PART
        near = 10
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for first in range(piece * each, min(rows, (piece + 1) * each), ROWS):
            mine, place = min(ROWS, rows - first), 4 * n * first
            for start in range(0, n, length):
                inside(mine, x + place, factors, n, start, length, bias if depth == INSIDE else 0, out + place)
                _between(mine, factors, n, INSIDE, near, start, length, bias if near == depth else 0, out + place)
            _between(mine, factors, n, near, depth, 0, n, bias, out + place)
