"""A handful of numbers at once: what compiled kernels are written in.

numba turns Python into machine code but leaves it to the compiler whether a loop uses the processor's vector registers,
and in tiles of sums it does not. Here a vector is a type of its own, so a kernel says which sums stay in registers:

    total = zeros()
    for place in range(0, width, LANES):
        total = fma(load(a, place), load(b, place), total)

`a` and `b` are addresses (`tensor.data_ptr()`), places count elements. LANES is 16 float32 where the processor has
AVX-512 and 8 elsewhere; LLVM splits what the processor has not. `load_some` and `store_some` touch only the first `count`
elements, for the end of a row. A kernel (see `kernel`) gets the address of its arguments, reads
them with `argument` and takes its pieces of work with `ticket` until there are none.

Importing this imports numba: only kernels do, when they are first called.
"""

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""fastmath without the flags that would lose NaN and infinity."""


_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR, _MASK = ir.VectorType(_F32, LANES), ir.VectorType(ir.IntType(1), LANES)


class Vector(types.Type):
    """LANES float32 in one register."""

    def __init__(self):
        super().__init__("Vector")


VECTOR = Vector()


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _at(builder, address, place, kind):
    """A pointer to the element `place` of the numbers of this kind at `address`."""
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [place])


def _wide(builder, address, place):
    return builder.bitcast(_at(builder, address, place, _F32), _VECTOR.as_pointer())


def _spread(builder, number):
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(_I32, 0))
    same = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), same)


def _first(builder, count):
    """The mask of the first `count` lanes."""
    kind = ir.VectorType(_I64, LANES)
    start = builder.insert_element(ir.Constant(kind, ir.Undefined), count, ir.Constant(_I32, 0))
    same = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    counts = builder.shuffle_vector(start, ir.Constant(kind, ir.Undefined), same)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(LANES))), counts)


def _call(builder, name, result, arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, arguments)


@intrinsic
def argument(context, arguments, place):
    """The whole number at `place` among a kernel's arguments."""

    def build(_context, builder, _signature, given):
        return builder.load(_at(builder, given[0], given[1], _I64))

    return types.int64(types.int64, types.int64), build


@intrinsic
def ticket(context, arguments):
    """The number of the next piece of work; every thread that asks gets another. It is kept in place 0."""

    def build(_context, builder, _signature, given):
        where = builder.inttoptr(given[0], _I64.as_pointer())
        return builder.atomic_rmw("add", where, ir.Constant(_I64, 1), "monotonic")

    return types.int64(types.int64), build


@intrinsic
def whole(context, address, place):
    """The int64 at `place`."""

    def build(_context, builder, _signature, given):
        return builder.load(_at(builder, given[0], given[1], _I64))

    return types.int64(types.int64, types.int64), build


@intrinsic
def put_whole(context, address, place, value):
    """Writes an int64."""

    def build(_context, builder, _signature, given):
        builder.store(given[2], _at(builder, given[0], given[1], _I64))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


@intrinsic
def number(context, address, place):
    """The float32 at `place`."""

    def build(_context, builder, _signature, given):
        return builder.load(_at(builder, given[0], given[1], _F32))

    return types.float32(types.int64, types.int64), build


@intrinsic
def put_number(context, address, place, value):
    """Writes a float32."""

    def build(_context, builder, _signature, given):
        builder.store(given[2], _at(builder, given[0], given[1], _F32))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), build


@intrinsic
def zeros(context):
    """A vector of zeros."""

    def build(_context, _builder, _signature, _given):
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return VECTOR(), build


@intrinsic
def spread(context, value):
    """One float32 in every lane."""

    def build(_context, builder, _signature, given):
        return _spread(builder, given[0])

    return VECTOR(types.float32), build


@intrinsic
def load(context, address, place):
    """LANES float32 from `place` on."""

    def build(_context, builder, _signature, given):
        read = builder.load(_wide(builder, *given))
        read.align = 4
        return read

    return VECTOR(types.int64, types.int64), build


@intrinsic
def load_some(context, address, place, count):
    """The first `count` float32 from `place` on, then zeros; nothing behind them is touched."""

    def build(_context, builder, _signature, given):
        pointer = _wide(builder, given[0], given[1])
        none = ir.Constant(_VECTOR, [0.0] * LANES)
        given = [pointer, ir.Constant(_I32, 4), _first(builder, given[2]), none]
        return _call(builder, f"llvm.masked.load.v{LANES}f32.p0", _VECTOR, given)

    return VECTOR(types.int64, types.int64, types.int64), build


@intrinsic
def store(context, address, place, value):
    """Writes LANES float32."""

    def build(_context, builder, _signature, given):
        written = builder.store(given[2], _wide(builder, given[0], given[1]))
        written.align = 4
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, VECTOR), build


@intrinsic
def store_some(context, address, place, value, count):
    """Writes the first `count` of a vector."""

    def build(_context, builder, _signature, given):
        pointer = _wide(builder, given[0], given[1])
        given = [given[2], pointer, ir.Constant(_I32, 4), _first(builder, given[3])]
        _call(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), given)
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, VECTOR, types.int64), build


@intrinsic
def fma(context, a, b, c):
    """a b + c, in each lane."""

    def build(_context, builder, _signature, given):
        return _call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, list(given))

    return VECTOR(VECTOR, VECTOR, VECTOR), build


def _two(name: str, says: str, make):
    @intrinsic
    def operation(context, a, b):
        return VECTOR(VECTOR, VECTOR), lambda _c, builder, _s, given: make(builder, given)

    operation.__doc__ = says
    return operation


add = _two("add", "a + b, in each lane.", lambda builder, given: builder.fadd(*given))
subtract = _two("subtract", "a - b, in each lane.", lambda builder, given: builder.fsub(*given))
multiply = _two("multiply", "a b, in each lane.", lambda builder, given: builder.fmul(*given))
divide = _two("divide", "a / b, in each lane.", lambda builder, given: builder.fdiv(*given))


@intrinsic
def relu(context, a):
    """max(a, 0) in each lane; NaN stays NaN."""

    def build(_context, builder, _signature, given):
        none = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered("<", given[0], none), none, given[0])

    return VECTOR(VECTOR), build


@intrinsic
def total(context, a):
    """The sum of the lanes, in a fixed order."""

    def build(_context, builder, _signature, given):
        folded, width = given[0], LANES
        while width > 1:
            width //= 2
            kind = ir.VectorType(_I32, width)
            none = ir.Constant(folded.type, ir.Undefined)
            low = builder.shuffle_vector(folded, none, ir.Constant(kind, list(range(width))))
            high = builder.shuffle_vector(folded, none, ir.Constant(kind, list(range(width, 2 * width))))
            folded = builder.fadd(low, high)
        return builder.extract_element(folded, ir.Constant(_I32, 0))

    return types.float32(VECTOR), build


@intrinsic
def positive(context, a, b):
    """b where a > 0, else 0, in each lane."""

    def build(_context, builder, _signature, given):
        none = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered(">", given[0], none), given[1], none)

    return VECTOR(VECTOR, VECTOR), build
