"""Products of rows with the chosen rows of a weight: a dot product with each of them, or their weighted sum.

Row r's list of units is the places `begins[r]` to `ends[r]` of `units`, in ascending order; `places` says where the number
that belongs to an entry lies among `values`. A tile of units is run through by all rows before the next begins, so what is
read of the weight once serves every row that needs it. A row's sums have one order, ascending, whatever the tile, the rows
beside it and the number of threads.
"""

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.lanes import (
    _VECTOR,
    LANES,
    VECTOR,
    _call,
    load,
    load_some,
    number,
    put_number,
    put_whole,
    store,
    store_some,
    whole,
    zeros,
)
from labkit.parts.kernels.cpu.tiles import loads, loads_some, outer, plus, spreads, tile, totals

compiled = njit(cache=True, error_model="numpy")


@intrinsic
def chained(context, sum_, factors, vectors):
    """sum_ + Σ factors[i] vectors[i], added one after the other."""

    def build(_own, builder, _signature, given):
        after = given[0]
        pairs = zip(cgutils.unpack_tuple(builder, given[1]), cgutils.unpack_tuple(builder, given[2]), strict=True)
        for factor, vector in pairs:
            after = _call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, [factor, vector, after])
        return after

    return VECTOR(VECTOR, factors, vectors), build


@compiled
def dots_of(x, rows, width):
    """x times each of these rows: four vectors of sums for each."""
    a, b, c, d = tile((x,), rows), tile((x,), rows), tile((x,), rows), tile((x,), rows)
    place = 0
    while place + 4 * LANES <= width:
        a = outer(a, loads((x,), place), loads(rows, place))
        b = outer(b, loads((x,), place + LANES), loads(rows, place + LANES))
        c = outer(c, loads((x,), place + 2 * LANES), loads(rows, place + 2 * LANES))
        d = outer(d, loads((x,), place + 3 * LANES), loads(rows, place + 3 * LANES))
        place += 4 * LANES
    while place + LANES <= width:
        a = outer(a, loads((x,), place), loads(rows, place))
        place += LANES
    if place < width:
        b = outer(b, loads_some((x,), place, width - place), loads_some(rows, place, width - place))
    return totals(plus(plus(a, b), plus(c, d)))


@compiled
def add_rows(out, factors, rows, first, last):
    """Adds these rows times the numbers at `factors` to the columns `first` to `last` of `out`."""
    by = spreads(factors, 0)
    place = first
    while place + LANES <= last:
        store(out, place, chained(load(out, place), by, loads(rows, place)))
        place += LANES
    if place < last:
        some = last - place
        store_some(out, place, chained(load_some(out, place, some), by, loads_some(rows, place, some)), some)


@compiled
def put_dot(values, place, dot, bias, unit, rectified):
    if bias:
        dot += number(bias, unit)
    if rectified and dot < 0:
        dot = types.float32(0)
    put_number(values, place, dot)


@compiled
def four(address, list_, here, span):
    """The addresses of the rows that the list names from `here` on."""
    return (
        address + span * whole(list_, here),
        address + span * whole(list_, here + 1),
        address + span * whole(list_, here + 2),
        address + span * whole(list_, here + 3),
    )


@compiled
def run_dots(x, width, weight, bias, rectified, lists, values, at, first, last, low, high, size):
    """The dots of the rows `first` to `last` with those of their units that are from `low` to below `high`."""
    begins, ends, units, places = lists
    for row in range(first, last):
        here, end = whole(begins, row), whole(ends, row)
        while low and here < end and whole(units, here) < low:
            here += 1
        put_whole(at, row, here)
    span = 4 * width
    while low < high:
        low = min(low + size, high)
        for row in range(first, last):
            here, end, own = whole(at, row), whole(ends, row), x + row * span
            while here + 4 <= end and whole(units, here + 3) < low:
                a, b, c, d = whole(units, here), whole(units, here + 1), whole(units, here + 2), whole(units, here + 3)
                found = dots_of(own, four(weight, units, here, span), width)
                put_dot(values, whole(places, here), found[0], bias, a, rectified)
                put_dot(values, whole(places, here + 1), found[1], bias, b, rectified)
                put_dot(values, whole(places, here + 2), found[2], bias, c, rectified)
                put_dot(values, whole(places, here + 3), found[3], bias, d, rectified)
                here += 4
            while here < end and whole(units, here) < low:
                a = whole(units, here)
                found = dots_of(own, (weight + a * span,), width)
                put_dot(values, whole(places, here), found[0], bias, a, rectified)
                here += 1
            put_whole(at, row, here)


@compiled
def run_sums(values, width, weight, bias, lists, out, at, first, last, left, right, count, size):
    """The columns `left` to `right` of the rows `first` to `last`: the sum of their units' rows, of `count` units."""
    begins, ends, units, places = lists
    span = 4 * width
    for row in range(first, last):
        put_whole(at, row, whole(begins, row))
        own = out + row * span
        for place in range(left, right, LANES):
            some = right - place
            store_some(own, place, load_some(bias, place, some) if bias else zeros(), some)
    low = 0
    while low < count:
        low = min(low + size, count)
        for row in range(first, last):
            here, end, own = whole(at, row), whole(ends, row), out + row * span
            while here + 4 <= end and whole(units, here + 3) < low:
                add_rows(own, four(values, places, here, 4), four(weight, units, here, span), left, right)
                here += 4
            while here < end and whole(units, here) < low:
                factor = (values + 4 * whole(places, here),)
                add_rows(own, factor, (weight + whole(units, here) * span,), left, right)
                here += 1
            put_whole(at, row, here)
