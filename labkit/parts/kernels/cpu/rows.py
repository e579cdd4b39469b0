"""A few rows side by side: where they lie, the numbers that belong to them, and what is written for each.

As in `tiles`, a tuple stands for a few rows, and how many is read from its length when the code is compiled.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.lanes import _F32, _I32, _I64, LANES, _at, _call
from labkit.parts.kernels.cpu.tiles import _parts, _side_by_side


@intrinsic
def roots(context, rows):
    """Place 0 for each row."""
    kind = types.UniTuple(types.int64, rows.count)

    def build(own, builder, signature, _given):
        return own.make_tuple(builder, signature.return_type, [ir.Constant(_I64, 0)] * rows.count)

    return kind(rows), build


@intrinsic
def places_of(context, rows):
    """0, 1, 2, ..., a place for each row."""
    kind = types.UniTuple(types.int64, rows.count)

    def build(own, builder, signature, _given):
        return own.make_tuple(builder, signature.return_type, [ir.Constant(_I64, i) for i in range(rows.count)])

    return kind(rows), build


@intrinsic
def rows_at(context, address, places, width):
    """The addresses of the rows at these places of a matrix so many float32 wide."""

    def build(own, builder, signature, given):
        stride = builder.mul(given[2], ir.Constant(_I64, 4))
        found = [builder.add(given[0], builder.mul(place, stride)) for place in _parts(builder, given[1])]
        return own.make_tuple(builder, signature.return_type, found)

    return places(types.int64, places, types.int64), build


@intrinsic
def numbers_at(context, address, places):
    """The float32 at each of these places."""
    kind = types.UniTuple(types.float32, places.count)

    def build(own, builder, signature, given):
        read = [builder.load(_at(builder, given[0], place, _F32)) for place in _parts(builder, given[1])]
        return own.make_tuple(builder, signature.return_type, read)

    return kind(types.int64, places), build


@intrinsic
def turned(context, places, scores):
    """One level down: 2 place + (score >= 0)."""

    def build(own, builder, signature, given):
        after = []
        for place, score in zip(_parts(builder, given[0]), _parts(builder, given[1]), strict=True):
            right = builder.fcmp_ordered(">=", score, ir.Constant(_F32, 0.0))
            after.append(builder.add(builder.shl(place, ir.Constant(_I64, 1)), builder.zext(right, _I64)))
        return own.make_tuple(builder, signature.return_type, after)

    return places(places, scores), build


@intrinsic
def shifted(context, places, start):
    """start + each place."""

    def build(own, builder, signature, given):
        found = [builder.add(given[1], place) for place in _parts(builder, given[0])]
        return own.make_tuple(builder, signature.return_type, found)

    return places(places, types.int64), build


@intrinsic
def picked(context, address, first, count, places):
    """The int64 at each of these places from `first` on; the last of `count` stands for those behind it."""

    def build(own, builder, signature, given):
        last, read = builder.sub(given[2], ir.Constant(_I64, 1)), []
        for place in _parts(builder, given[3]):
            here = builder.select(builder.icmp_signed("<", place, last), place, last)
            read.append(builder.load(_at(builder, given[0], builder.add(given[1], here), _I64)))
        return own.make_tuple(builder, signature.return_type, read)

    return places(types.int64, types.int64, types.int64, places), build


@intrinsic
def clipped(context, first, count, places):
    """first + each place, but at most count - 1."""

    def build(own, builder, signature, given):
        last, found = builder.sub(given[1], ir.Constant(_I64, 1)), []
        for place in _parts(builder, given[2]):
            here = builder.add(given[0], place)
            found.append(builder.select(builder.icmp_signed("<", here, last), here, last))
        return own.make_tuple(builder, signature.return_type, found)

    return places(types.int64, types.int64, places), build


@intrinsic
def divided(context, places, by):
    """Each place divided by a whole number and rounded down; neither is negative."""

    def build(own, builder, signature, given):
        found = [builder.udiv(place, given[1]) for place in _parts(builder, given[0])]
        return own.make_tuple(builder, signature.return_type, found)

    return places(places, types.int64), build


@intrinsic
def beside(context, address, places):
    """The addresses of len(places) vectors that lie side by side from `address` on."""

    def build(own, builder, signature, given):
        found = [builder.add(given[0], ir.Constant(_I64, 4 * LANES * i)) for i in range(places.count)]
        return own.make_tuple(builder, signature.return_type, found)

    return places(types.int64, places), build


@intrinsic
def put_each(context, address, first, stride, values):
    """Writes one number for each row, `stride` places apart: int64 or float32, as they are."""

    def build(_context, builder, _signature, given):
        for i, value in enumerate(_parts(builder, given[3])):
            at = builder.add(given[1], builder.mul(given[2], ir.Constant(_I64, i)))
            builder.store(value, _at(builder, given[0], at, value.type))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, values), build


@intrinsic
def put_rectified(context, rows, place, sums, bias, units):
    """Writes max(Σ lanes of sums[i, j] + bias[j], 0) to row i from `place` on; NaN stays NaN. 1, 2 or 4 units."""

    def build(_context, builder, _signature, given):
        parts, many = _parts(builder, given[2]), units.count
        kind = ir.VectorType(_F32, many)
        offset = builder.load(builder.bitcast(_at(builder, given[3], ir.Constant(_I64, 0), _F32), kind.as_pointer()))
        offset.align, none = 4, ir.Constant(kind, [0.0] * many)
        for i, address in enumerate(_parts(builder, given[0])):
            value = builder.fadd(_side_by_side(builder, parts[i * many : (i + 1) * many]), offset)
            value = builder.select(builder.fcmp_ordered("<", value, none), none, value)
            builder.store(value, builder.bitcast(_at(builder, address, given[1], _F32), kind.as_pointer())).align = 4
        return _context.get_dummy_value()

    return types.void(rows, types.int64, sums, types.int64, units), build


@intrinsic
def fetch_early(context, address, place):
    """Ask for the cache line of the float32 at `place`; nothing happens where it cannot be had."""

    def build(_context, builder, _signature, given):
        where = builder.bitcast(_at(builder, given[0], given[1], _F32), ir.IntType(8).as_pointer())
        given = [where, ir.Constant(_I32, 0), ir.Constant(_I32, 3), ir.Constant(_I32, 1)]
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), given)
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64), build
