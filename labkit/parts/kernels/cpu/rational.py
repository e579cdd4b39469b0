"""Group-rational functions, compiled: each number is read once, and its two polynomials never leave the registers.

    F(x) = P(x) / (1 + |Q(x)|),   P(x) = a_0 + a_1 x + ... + a_5 x^5,   Q(x) = b_1 x + ... + b_4 x^4

The gradients of a group's ten numbers are summed lane by lane over a strip of rows; the strips' sums are added by whoever
called, so they do not depend on the number of threads.
"""

from numba import njit, types

from labkit.parts.kernels.cpu.curves import absolute, side
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
    store_some,
    subtract,
    ticket,
    total,
    zeros,
)


@njit
def _six(above, group):
    """The numerator's numbers of a group, one in all lanes of each vector."""
    at = 6 * group
    return (
        spread(number(above, at)),
        spread(number(above, at + 1)),
        spread(number(above, at + 2)),
        spread(number(above, at + 3)),
        spread(number(above, at + 4)),
        spread(number(above, at + 5)),
    )


@njit
def _four(below, group):
    at = 4 * group
    return (
        spread(number(below, at)),
        spread(number(below, at + 1)),
        spread(number(below, at + 2)),
        spread(number(below, at + 3)),
    )


@fast_kernel
def forward(p):
    """y = F(x), a strip of rows a piece; `width` channels of a row share ten numbers."""
    x, above, below, y, rows = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    groups, width, strip = argument(p, 7), argument(p, 8), argument(p, 9)
    one = spread(types.float32(1.0))
    while True:
        start = ticket(p) * strip
        if start >= rows:
            break
        for group in range(groups):
            a0, a1, a2, a3, a4, a5 = _six(above, group)
            b1, b2, b3, b4 = _four(below, group)
            for row in range(start, min(rows, start + strip)):
                at = (row * groups + group) * width
                for channel in range(0, width, LANES):
                    count = min(LANES, width - channel)
                    v = load_some(x, at + channel, count)
                    top = fma(fma(fma(fma(fma(a5, v, a4), v, a3), v, a2), v, a1), v, a0)
                    q = multiply(fma(fma(fma(b4, v, b3), v, b2), v, b1), v)
                    store_some(y, at + channel, divide(top, add(one, absolute(q))), count)


@fast_kernel
def backward(p):
    """The gradient of x, and of each strip's share in those of the ten numbers of each group."""
    x, above, below, slope, back, sums = (
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
        argument(p, 6),
        argument(p, 7),
    )
    rows, groups, width, strip = argument(p, 8), argument(p, 9), argument(p, 10), argument(p, 11)
    one, two, three = spread(types.float32(1.0)), spread(types.float32(2.0)), spread(types.float32(3.0))
    four, five = spread(types.float32(4.0)), spread(types.float32(5.0))
    while True:
        piece = ticket(p)
        start = piece * strip
        if start >= rows:
            break
        for group in range(groups):
            a0, a1, a2, a3, a4, a5 = _six(above, group)
            b1, b2, b3, b4 = _four(below, group)
            s0, s1, s2, s3, s4, s5 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
            t1, t2, t3, t4 = zeros(), zeros(), zeros(), zeros()
            for row in range(start, min(rows, start + strip)):
                at = (row * groups + group) * width
                for channel in range(0, width, LANES):
                    count = min(LANES, width - channel)
                    v, dy = load_some(x, at + channel, count), load_some(slope, at + channel, count)
                    top = fma(fma(fma(fma(fma(a5, v, a4), v, a3), v, a2), v, a1), v, a0)
                    q = multiply(fma(fma(fma(b4, v, b3), v, b2), v, b1), v)
                    share = divide(one, add(one, absolute(q)))
                    given = multiply(dy, share)  # to the numerator
                    taken = multiply(multiply(given, multiply(top, share)), side(q))  # from the denominator
                    steep = fma(
                        fma(fma(multiply(five, a5), v, multiply(four, a4)), v, multiply(three, a3)),
                        v,
                        multiply(two, a2),
                    )
                    falls = fma(fma(multiply(four, b4), v, multiply(three, b3)), v, multiply(two, b2))
                    dx = multiply(given, fma(steep, v, a1))
                    store_some(back, at + channel, subtract(dx, multiply(taken, fma(falls, v, b1))), count)
                    s0 = add(s0, given)
                    given, taken = multiply(given, v), multiply(taken, v)
                    s1, t1 = add(s1, given), subtract(t1, taken)
                    given, taken = multiply(given, v), multiply(taken, v)
                    s2, t2 = add(s2, given), subtract(t2, taken)
                    given, taken = multiply(given, v), multiply(taken, v)
                    s3, t3 = add(s3, given), subtract(t3, taken)
                    given, taken = multiply(given, v), multiply(taken, v)
                    s4, t4 = add(s4, given), subtract(t4, taken)
                    s5 = fma(given, v, s5)
            at = 10 * (piece * groups + group)
            for s in (s0, s1, s2, s3, s4, s5, t1, t2, t3, t4):
                put_number(sums, at, total(s))
                at += 1
