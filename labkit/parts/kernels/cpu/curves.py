"""Functions of a number, in each lane at once: what `lanes` leaves to the kernels that need more than sums."""

from llvmlite import ir
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.lanes import _I32, _VECTOR, LANES, VECTOR, _call


@intrinsic
def floor(context, a):
    """The next whole number below, in each lane."""

    def build(_context, builder, _signature, given):
        return _call(builder, f"llvm.floor.v{LANES}f32", _VECTOR, list(given))

    return VECTOR(VECTOR), build


@intrinsic
def positive(context, a):
    """max(a, 0) in each lane; NaN becomes 0."""

    def build(_context, builder, _signature, given):
        none = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered(">", given[0], none), given[0], none)

    return VECTOR(VECTOR), build


@intrinsic
def absolute(context, a):
    """The modulus, in each lane."""

    def build(_context, builder, _signature, given):
        return _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, list(given))

    return VECTOR(VECTOR), build


@intrinsic
def signed_as(context, a, b):
    """The modulus of a with the sign of b, in each lane."""

    def build(_context, builder, _signature, given):
        return _call(builder, f"llvm.copysign.v{LANES}f32", _VECTOR, list(given))

    return VECTOR(VECTOR, VECTOR), build


@intrinsic
def exponential(context, a):
    """e^a in each lane, to two units in the last place; 0 below -87.3, infinity above 88.7, and NaN stays NaN."""

    def build(_context, builder, _signature, given):
        def same(number):
            return ir.Constant(_VECTOR, [number] * LANES)

        def fused(*three):
            return _call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, list(three))

        a = given[0]
        # a = n ln 2 + r with |r| <= ln 2 / 2; e^r by its series, times 2^n put into the exponent's bits
        low, high = same(-87.33654), same(88.72283)
        held = builder.select(builder.fcmp_ordered(">", a, low), a, low)
        held = builder.select(builder.fcmp_ordered("<", held, high), held, high)
        n = _call(builder, f"llvm.rint.v{LANES}f32", _VECTOR, [builder.fmul(held, same(1.4426950408889634))])
        r = fused(n, same(-0.693145751953125), held)
        r = fused(n, same(-1.428606765330187e-06), r)
        series = same(1 / 5040)
        for divisor in (720, 120, 24, 6, 2, 1, 1):
            series = fused(series, r, same(1 / divisor))
        # in two steps, for 2^128 is no float32
        whole = builder.fptosi(n, ir.VectorType(_I32, LANES))
        one = ir.Constant(whole.type, [1] * LANES)
        half = builder.ashr(whole, one)
        for power in (half, builder.sub(whole, half)):
            bits = builder.shl(
                builder.add(power, ir.Constant(whole.type, [127] * LANES)), ir.Constant(whole.type, [23] * LANES)
            )
            series = builder.fmul(series, builder.bitcast(bits, _VECTOR))
        series = builder.select(builder.fcmp_ordered("<", a, low), same(0.0), series)
        series = builder.select(builder.fcmp_ordered(">", a, high), same(float("inf")), series)
        return builder.select(builder.fcmp_unordered("uno", a, a), a, series)

    return VECTOR(VECTOR), build


@intrinsic
def counting(context):
    """0, 1, 2, ... in the lanes."""

    def build(_context, _builder, _signature, _given):
        return ir.Constant(_VECTOR, [float(lane) for lane in range(LANES)])

    return VECTOR(), build


@intrinsic
def side(context, a):
    """-1 below 0, else 1, in each lane."""

    def build(_context, builder, _signature, given):
        none, one, other = (ir.Constant(_VECTOR, [number] * LANES) for number in (0.0, 1.0, -1.0))
        return builder.select(builder.fcmp_ordered("<", given[0], none), other, one)

    return VECTOR(VECTOR), build
