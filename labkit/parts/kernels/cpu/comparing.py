"""Comparing numbers lane by lane: sets of lanes as bits, counts, and places of numbers, beside what `lanes` offers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from labkit.parts.kernels.cpu.lanes import LANES, VECTOR

_BIT, _I32, _I64, _F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR, _PLACES = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
LOWEST, HIGHEST = float("-inf"), float("inf")


class Places(types.Type):
    """LANES int32 in one register."""

    def __init__(self):
        super().__init__("Places")


PLACES = Places()


@register_model(Places)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _PLACES)


def _known(builder, name, result, *given):
    kind = ir.FunctionType(result, [one.type for one in given])
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), given)


def _pointer(builder, address, place, element, kind):
    at = builder.gep(builder.inttoptr(address, element.as_pointer()), [place])
    return builder.bitcast(at, kind.as_pointer())


def _comparing(name: str, says: str, sign: str, make):
    """An intrinsic that compares two vectors lane by lane and makes something of the answer."""
    result = types.int64 if make is None else VECTOR

    @intrinsic
    def operation(context, a, b):
        def build(_context, builder, _signature, given):
            mask = builder.fcmp_ordered(sign, *given)
            if make is None:
                return builder.zext(builder.bitcast(mask, ir.IntType(LANES)), _I64)
            return make(builder, mask, *given)

        return result(VECTOR, VECTOR), build

    operation.__doc__ = says
    return operation


reach = _comparing("reach", "The lanes in which a >= b, as bits.", ">=", None)
surpass = _comparing("surpass", "The lanes in which a > b, as bits.", ">", None)
larger = _comparing(
    "larger", "The larger one of a and b in each lane.", ">", lambda b, mask, *two: b.select(mask, *two)
)
smaller = _comparing("smaller", "The smaller one in each lane.", "<", lambda b, mask, *two: b.select(mask, *two))


@intrinsic
def without_nan(context, a):
    """NaN becomes infinity: it counts as largest, as in torch.topk."""

    def build(_context, builder, _signature, given):
        most = ir.Constant(_VECTOR, [ir.Constant(_F32, HIGHEST)] * LANES)
        return builder.select(builder.fcmp_unordered("uno", given[0], given[0]), most, given[0])

    return VECTOR(VECTOR), build


@intrinsic
def size(context, lanes):
    """How many lanes are in a set."""

    def build(_context, builder, _signature, given):
        return _known(builder, "llvm.ctpop.i64", _I64, given[0])

    return types.int64(types.int64), build


@intrinsic
def keep(context, places, at, start, lanes):
    """Writes the places of a set of lanes, counted from `start`, one behind the other; a whole vector is overwritten."""

    def build(_context, builder, _signature, given):
        places, at, start, lanes = given
        mask = builder.bitcast(builder.trunc(lanes, ir.IntType(LANES)), ir.VectorType(_BIT, LANES))
        first = builder.insert_element(ir.Constant(_PLACES, ir.Undefined), builder.trunc(start, _I32), _I32(0))
        same = builder.shuffle_vector(first, ir.Constant(_PLACES, ir.Undefined), ir.Constant(_PLACES, [0] * LANES))
        here = builder.add(same, ir.Constant(_PLACES, list(range(LANES))))
        name = f"llvm.experimental.vector.compress.v{LANES}i32"
        packed = _known(builder, name, _PLACES, here, mask, ir.Constant(_PLACES, ir.Undefined))
        builder.store(packed, _pointer(builder, places, at, _I32, _PLACES)).align = 4
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 4), build


@intrinsic
def none(context):
    """A count of 0 in each lane."""
    return PLACES(), lambda _c, _b, _s, _g: ir.Constant(_PLACES, [0] * LANES)


@intrinsic
def count(context, counts, a, b):
    """One more in each lane in which a > b."""

    def build(_context, builder, _signature, given):
        more = builder.zext(builder.fcmp_ordered(">", given[1], given[2]), _PLACES)
        return builder.add(given[0], more)

    return PLACES(PLACES, VECTOR, VECTOR), build


@intrinsic
def put_counts(context, address, place, counts):
    """Writes LANES counts as int32."""

    def build(_context, builder, _signature, given):
        builder.store(given[2], _pointer(builder, given[0], given[1], _I32, _PLACES)).align = 4
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, PLACES), build


def _folded(name: str, says: str, sign: str):
    @intrinsic
    def operation(context, a):
        def build(_context, builder, _signature, given):
            one, width = given[0], LANES
            while width > 1:
                width //= 2
                kind, nothing = ir.VectorType(_I32, width), ir.Constant(one.type, ir.Undefined)
                low = builder.shuffle_vector(one, nothing, ir.Constant(kind, list(range(width))))
                high = builder.shuffle_vector(one, nothing, ir.Constant(kind, list(range(width, 2 * width))))
                one = builder.select(builder.fcmp_ordered(sign, low, high), low, high)
            return builder.extract_element(one, _I32(0))

        return types.float32(VECTOR), build

    operation.__doc__ = says
    return operation


least = _folded("least", "The smallest of the lanes.", "<")
most = _folded("most", "The largest of the lanes.", ">")


@intrinsic
def place_at(context, address, place):
    """The int32 at `place`."""

    def build(_context, builder, _signature, given):
        return builder.sext(builder.load(_pointer(builder, given[0], given[1], _I32, _I32)), _I64)

    return types.int64(types.int64, types.int64), build


@intrinsic
def put_place(context, address, place, value):
    """Writes an int32."""

    def build(_context, builder, _signature, given):
        builder.store(builder.trunc(given[2], _I32), _pointer(builder, given[0], given[1], _I32, _I32))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


@intrinsic
def prefetch(context, address, place):
    """Asks memory for the float32 at `place`, without waiting."""

    def build(_context, builder, _signature, given):
        pointer = _pointer(builder, given[0], given[1], _F32, _F32)
        _known(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, _I32(0), _I32(2), _I32(1))
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64), build


@intrinsic
def bits(context, value):
    """The 32 bits of a float32, as a signed whole number."""

    def build(_context, builder, _signature, given):
        return builder.sext(builder.bitcast(given[0], _I32), _I64)

    return types.int64(types.float32), build


@intrinsic
def of_bits(context, pattern):
    """The float32 with these 32 bits."""

    def build(_context, builder, _signature, given):
        return builder.bitcast(builder.trunc(given[0], _I32), _F32)

    return types.float32(types.int64), build
