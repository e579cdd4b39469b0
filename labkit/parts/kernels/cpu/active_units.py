"""Compiled feedforward layers of which each row needs some units only, and what their gradients need.

Addresses and sizes come as arguments from place 2 on, in the order in which each kernel reads them. The work on the lists
of units is in `chosen_rows`; here they are made: from an index, from what is not zero, and turned from rows to units.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.chosen_rows import run_dots, run_sums
from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import _I64, _VECTOR, LANES, _at, _call, argument, number, put_whole, ticket, whole

compiled = njit(cache=True, error_model="numpy")


@intrinsic
def active_lanes(context, address, place):
    """Which of the LANES float32 from `place` on are not 0, as the bits of a number; NaN is not 0."""

    def build(_context, builder, _signature, given):
        pointer = builder.bitcast(_at(builder, given[0], given[1], ir.FloatType()), _VECTOR.as_pointer())
        read = builder.load(pointer)
        read.align = 4
        bits = builder.fcmp_unordered("!=", read, ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), _I64)

    return types.int64(types.int64, types.int64), build


@intrinsic
def lowest(context, bits):
    """The place of the lowest bit that is set."""

    def build(_context, builder, _signature, given):
        return _call(builder, "llvm.cttz.i64", _I64, [given[0], ir.Constant(ir.IntType(1), 0)])

    return types.int64(types.int64), build


@compiled
def arrange_row(index, chosen, count, shift, row, lists, room):
    """Writes a row's list: its units in ascending order and where their numbers lie. False where one is out of range.

    Two passes of a counting sort, by the low `shift` bits of the unit and by those above; `room` is for
    2 chosen + 2^shift whole numbers.
    """
    begins, ends, units, places = lists
    begin = row * chosen
    here, before, ordered = begin, -1, True
    for place in range(begin, begin + chosen):
        unit = whole(index, place)
        if unit < -1 or unit >= count:
            return False
        if unit >= 0:
            ordered = ordered and unit >= before
            before = unit
            put_whole(units, here, unit)
            put_whole(places, here, place)
            here += 1
    put_whole(begins, row, begin)
    put_whole(ends, row, here)
    if not ordered:
        found, spare = here - begin, room + 16 * chosen
        by_digit(units + 8 * begin, places + 8 * begin, found, room, room + 8 * chosen, 0, shift, spare)
        by_digit(room, room + 8 * chosen, found, units + 8 * begin, places + 8 * begin, shift, 2 * shift, spare)
    return True


@compiled
def by_digit(keys, loads_, found, keys_to, loads_to, low, high, counts):
    """Stable counting sort of pairs by the bits `low` to `high` of the key."""
    digits = 1 << (high - low)
    for digit in range(digits):
        put_whole(counts, digit, 0)
    for place in range(found):
        digit = (whole(keys, place) >> low) & (digits - 1)
        put_whole(counts, digit, whole(counts, digit) + 1)
    before = 0
    for digit in range(digits):
        here = whole(counts, digit)
        put_whole(counts, digit, before)
        before += here
    for place in range(found):
        key = whole(keys, place)
        digit = (key >> low) & (digits - 1)
        here = whole(counts, digit)
        put_whole(keys_to, here, key)
        put_whole(loads_to, here, whole(loads_, place))
        put_whole(counts, digit, here + 1)


@compiled
def scan_row(values, count, row, lists):
    """Writes the list of what is not 0 in a row."""
    begins, ends, units, places = lists
    own = row * count
    here, unit = own, 0
    while unit + LANES <= count:
        bits = active_lanes(values, own + unit)
        while bits:
            found = unit + lowest(bits)
            put_whole(units, here, found)
            put_whole(places, here, own + found)
            here, bits = here + 1, bits & (bits - 1)
        unit += LANES
    while unit < count:
        if number(values, own + unit) != 0:
            put_whole(units, here, unit)
            put_whole(places, here, own + unit)
            here += 1
        unit += 1
    put_whole(begins, row, own)
    put_whole(ends, row, here)


@compiled
def lists_at(space, rows, room):
    """Where a workspace's lists begin: begins and ends of `rows` lists, units and places with room for so many entries."""
    return space, space + 8 * rows, space + 16 * rows, space + 16 * rows + 8 * room


@kernel
def act(p):
    """What `steps` asks for: 1 lists from an index, 2 from what is not zero, 4 the dots, 8 the sums.

    A piece is a block of rows; where it is one step alone, of dots a share of the units, of sums a share of the columns.
    """
    steps, rows, block, shares, count = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    chosen, space, pointers, values = argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 10)
    index, shift, room, faulty = argument(p, 11), argument(p, 12), argument(p, 13), argument(p, 14)
    x, width, in_weight, in_bias = argument(p, 15), argument(p, 16), argument(p, 17), argument(p, 18)
    rectified, in_size = argument(p, 19), argument(p, 20)
    out, out_width, out_weight, out_bias = argument(p, 21), argument(p, 22), argument(p, 23), argument(p, 24)
    out_size, pieces = argument(p, 25), argument(p, 1)
    lists = lists_at(space, rows, argument(p, 26))
    units = -(-count // shares)
    columns = (out_width + shares * LANES - 1) // (shares * LANES) * LANES
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        first, share, fine = piece // shares * block, piece % shares, True
        last, at = min(rows, first + block), pointers + 8 * share * rows
        for row in range(first, last):
            if steps & 1:
                own = room + 8 * (2 * chosen + (1 << shift)) * piece
                fine = fine and arrange_row(index, chosen, count, shift, row, lists, own)
            if steps & 2:
                scan_row(values, count, row, lists)
        if not fine:
            put_whole(faulty, 0, 1)
            continue
        if steps & 4:
            low, high = share * units, min(count, share * units + units)
            run_dots(x, width, in_weight, in_bias, rectified, lists, values, at, first, last, low, high, in_size)
        if steps & 8:
            left, right = share * columns, min(out_width, share * columns + columns)
            run_sums(values, out_width, out_weight, out_bias, lists, out, at, first, last, left, right, count, out_size)


@kernel
def turn(p):
    """From the lists of the rows the lists of the units: which rows chose each, ascending, and where the numbers lie."""
    space, rows, room, turned, count = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    begins, ends, units, places = lists_at(space, rows, room)
    starts, stops, choosers, places_to = lists_at(turned, count, room)
    if ticket(p):
        return
    for unit in range(count):
        put_whole(stops, unit, 0)
    for row in range(rows):
        for here in range(whole(begins, row), whole(ends, row)):
            unit = whole(units, here)
            put_whole(stops, unit, whole(stops, unit) + 1)
    before = 0
    for unit in range(count):
        found = whole(stops, unit)
        put_whole(starts, unit, before)
        put_whole(stops, unit, before)
        before += found
    for row in range(rows):
        for here in range(whole(begins, row), whole(ends, row)):
            unit = whole(units, here)
            to = whole(stops, unit)
            put_whole(choosers, to, row)
            put_whole(places_to, to, whole(places, here))
            put_whole(stops, unit, to + 1)
