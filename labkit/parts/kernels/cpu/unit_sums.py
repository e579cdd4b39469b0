"""How often each unit is active, its sum and its sum of squares, in one reading of the values.

A block of rows is added up in single precision, in registers, and each block is added to sums in double precision. The
blocks begin at the first row and the columns do not meet, so what comes out depends on nothing but the values.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import (
    _VECTOR,
    LANES,
    VECTOR,
    _at,
    _call,
    _first,
    _spread,
    add,
    argument,
    fma,
    load,
    load_some,
    number,
    subtract,
    ticket,
    zeros,
)

HEIGHT = 32
"""Rows that are added up in single precision."""

_EXACT = ir.VectorType(ir.DoubleType(), LANES)
_SIZE = ir.Constant(ir.IntType(32), 8)


def _counting(name, says, flag):
    """An operation that adds 1 to the lanes of `count` where `flag(builder, value, bound)` holds."""

    @intrinsic
    def operation(context, count, value, bound):
        def build(_context, builder, _signature, given):
            here = flag(builder, given[1], _spread(builder, given[2]))
            ones, none = (ir.Constant(_VECTOR, [one] * LANES) for one in (1.0, 0.0))
            return builder.fadd(given[0], builder.select(here, ones, none))

        return VECTOR(VECTOR, VECTOR, types.float32), build

    operation.__doc__ = says
    return operation


def _modulus(builder, value):
    return _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, [value])


above = _counting(
    "above",
    "Counts values whose modulus is above the bound; NaN is not.",
    lambda builder, value, bound: builder.fcmp_ordered(">", _modulus(builder, value), bound),
)
different = _counting(
    "different",
    "Counts values that are not the bound; NaN is not.",
    lambda builder, value, bound: builder.fcmp_unordered("!=", value, bound),
)


@intrinsic
def add_exactly(context, address, place, value):
    """Adds LANES float32 to as many float64 from `place` on."""

    def build(_context, builder, _signature, given):
        where = builder.bitcast(_at(builder, given[0], given[1], ir.DoubleType()), _EXACT.as_pointer())
        before = builder.load(where)
        before.align = 8
        builder.store(builder.fadd(before, builder.fpext(given[2], _EXACT)), where).align = 8
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, VECTOR), build


@intrinsic
def add_some_exactly(context, address, place, value, count):
    """The same for the first `count` of them; nothing behind them is touched."""

    def build(_context, builder, _signature, given):
        where = builder.bitcast(_at(builder, given[0], given[1], ir.DoubleType()), _EXACT.as_pointer())
        mask, none = _first(builder, given[3]), ir.Constant(_EXACT, [0.0] * LANES)
        before = _call(builder, f"llvm.masked.load.v{LANES}f64.p0", _EXACT, [where, _SIZE, mask, none])
        after = builder.fadd(before, builder.fpext(given[2], _EXACT))
        _call(builder, f"llvm.masked.store.v{LANES}f64.p0", ir.VoidType(), [after, where, _SIZE, mask])
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, VECTOR, types.int64), build


def _adder(count):
    """The sums of the columns from `start` to `stop`, with this way to count what is active."""

    @njit(cache=False, error_model="numpy")
    def sums_of(x, rows, stride, units, centre, bound, sums, start, stop):
        for top in range(0, rows, HEIGHT):
            bottom, place = min(rows, top + HEIGHT), start
            while place + 2 * LANES <= stop:
                middle, other, total, squares, active = zeros(), zeros(), zeros(), zeros(), zeros()
                if centre != 0:
                    middle, other = load(centre, place), load(centre, place + LANES)
                beside, squares_beside, active_beside = zeros(), zeros(), zeros()
                for row in range(top, bottom):
                    at = x + 4 * row * stride
                    value, next_ = load(at, place), load(at, place + LANES)
                    active, active_beside = count(active, value, bound), count(active_beside, next_, bound)
                    value, next_ = subtract(value, middle), subtract(next_, other)
                    total, beside = add(total, value), add(beside, next_)
                    squares, squares_beside = fma(value, value, squares), fma(next_, next_, squares_beside)
                add_exactly(sums, place, total)
                add_exactly(sums, units + place, squares)
                add_exactly(sums, 2 * units + place, active)
                place += LANES
                add_exactly(sums, place, beside)
                add_exactly(sums, units + place, squares_beside)
                add_exactly(sums, 2 * units + place, active_beside)
                place += LANES
            while place < stop:
                width = min(LANES, stop - place)
                middle, total, squares, active = zeros(), zeros(), zeros(), zeros()
                if centre != 0:
                    middle = load_some(centre, place, width)
                for row in range(top, bottom):
                    value = load_some(x + 4 * row * stride, place, width)
                    active = count(active, value, bound)
                    value = subtract(value, middle)
                    total, squares = add(total, value), fma(value, value, squares)
                add_some_exactly(sums, place, total, width)
                add_some_exactly(sums, units + place, squares, width)
                add_some_exactly(sums, 2 * units + place, active, width)
                place += LANES

    return sums_of


_sums_above, _sums_different = _adder(above), _adder(different)


@kernel
def unit_sums(p):
    """Adds to (3, units) float64: sum, sum of squares, how many active. A piece is a span of columns. Centre 0: none."""
    pieces, x, rows, stride, units = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    centre, sums, bound = argument(p, 6), argument(p, 7), number(p, 16)
    vectors = (units + LANES - 1) // LANES
    span = (vectors + pieces - 1) // pieces * LANES
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        start, stop = piece * span, min(units, (piece + 1) * span)
        if bound == 0:
            _sums_different(x, rows, stride, units, centre, bound, sums, start, stop)
        else:
            _sums_above(x, rows, stride, units, centre, bound, sums, start, stop)
