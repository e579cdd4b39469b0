"""Which spline functions a number meets and what they say there, compiled: what `splines` and `spline_gradients` begin with.

Places of a row of a block of inputs: six lines of LINE numbers, the first of each input's four functions that are not zero,
the four values (for the way back their derivatives), and the silu (its derivative).
"""

from numba import njit, types

from labkit.parts.kernels.cpu.curves import absolute, counting, exponential, floor, positive, signed_as
from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    add,
    argument,
    divide,
    fma,
    load_some,
    multiply,
    number,
    put_number,
    spread,
    store,
    subtract,
    total,
    zeros,
)

LINE = 16
"""Inputs of one block."""
ROW = 6 * LINE
"""Numbers of a row of places."""
EVEN = 1e-5
"""By how much of a step a knot may stand beside its place."""


@njit
def six(p, place):
    """Six arguments of a kernel."""
    return (
        argument(p, place),
        argument(p, place + 1),
        argument(p, place + 2),
        argument(p, place + 3),
        argument(p, place + 4),
        argument(p, place + 5),
    )


@fast_kernel
def knots(p):
    """Of each input's grid: its middle knot and how many steps there are in 1; whether all grids are even."""
    grid, starts, steps, inputs, count, even = six(p, 2)
    fits, beside, sums = 1.0, zeros(), zeros()
    for i in range(inputs):
        first, last = number(grid, i * count), number(grid, (i + 1) * count - 1)
        step = (last - first) / types.float32(count - 1)
        if not (step > 0.0 and step < 1e30):
            fits = 0.0
        for knot in range(0, count, LANES):
            many = min(LANES, count - knot)
            found = load_some(grid, i * count + knot, many)
            place = fma(add(counting(), spread(types.float32(knot))), spread(step), spread(first))
            off = subtract(absolute(subtract(found, place)), spread(types.float32(EVEN * step)))
            inside = positive(subtract(spread(types.float32(many)), counting()))
            beside = fma(inside, positive(off), beside)
            sums = add(sums, found)
        put_number(starts, i, number(grid, i * count + (count - 1) // 2))
        put_number(steps, i, types.float32(1.0) / step)
    if not (total(beside) == 0.0 and abs(total(sums)) < 1e30):
        fits = 0.0
    put_number(even, 0, types.float32(fits))


@njit
def _cubic(place):
    """What the cubic B-spline on [0, 4] says at 2 + place."""
    far, near = _reach(place)
    return subtract(
        multiply(spread(types.float32(1 / 6)), multiply(far, multiply(far, far))),
        multiply(spread(types.float32(2 / 3)), multiply(near, multiply(near, near))),
    )


@njit
def _reach(place):
    distance = absolute(place)
    return (
        positive(subtract(spread(types.float32(2.0)), distance)),
        positive(subtract(spread(types.float32(1.0)), distance)),
    )


@njit
def _slope(place, steps):
    """The derivative of the same, times the steps in 1."""
    far, near = _reach(place)
    falls = subtract(
        multiply(spread(types.float32(2.0)), multiply(near, near)),
        multiply(spread(types.float32(0.5)), multiply(far, far)),
    )
    flat = multiply(falls, steps)
    return multiply(flat, signed_as(spread(types.float32(1.0)), place))


@njit
def spread_row(x, starts, steps, inputs, last, places, derived):
    """The six numbers of each input of one row; `derived`, with the derivatives in place of the values."""
    half = (last + 7) // 2
    most, one = spread(types.float32(last)), spread(types.float32(1.0))
    for i in range(0, inputs, LANES):
        count = min(LANES, inputs - i)
        value, scale = load_some(x, i, count), load_some(steps, i, count)
        # counted from the middle knot: numbers stay small, and what is taken from them is whole, so little is rounded
        place = multiply(subtract(value, load_some(starts, i, count)), scale)
        begin = positive(add(floor(place), spread(types.float32(half - 3))))
        begin = subtract(most, positive(subtract(most, begin)))
        store(places, i, begin)
        place = subtract(place, subtract(begin, spread(types.float32(half - 2))))
        at = LINE + i
        for _ in range(4):
            if derived:
                store(places, at, _slope(place, scale))
            else:
                store(places, at, _cubic(place))
            place = subtract(place, one)
            at += LINE
        sigmoid = divide(one, add(one, exponential(subtract(zeros(), value))))
        silu = multiply(value, sigmoid)
        if derived:  # σ + x σ (1 - σ)
            silu = fma(silu, subtract(one, sigmoid), sigmoid)
        store(places, at, silu)
