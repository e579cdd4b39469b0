"""Numbers of one vector change places: what butterfly factors of small strides need."""

from llvmlite import ir
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.lanes import LANES, VECTOR

_I32 = ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


@intrinsic(prefer_literal=True)
def swapped(context, a, distance):
    """Lanes i and i XOR distance in each other's place; the distance is a power of two, written as a number."""
    far = distance.literal_value

    def build(_context, builder, _signature, given):
        order = [lane ^ far if far < LANES else lane for lane in range(LANES)]
        none = ir.Constant(_VECTOR, ir.Undefined)
        return builder.shuffle_vector(given[0], none, ir.Constant(ir.VectorType(_I32, LANES), order))

    return VECTOR(VECTOR, distance), build
