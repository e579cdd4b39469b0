"""Tiles of sums that stay in registers: every number of a few rows times every number of a few others.

A tuple of addresses stands for a few rows, a tuple of vectors for a few registers. How many is read from the tuples'
lengths when the code is compiled, so one function makes tiles of every shape:

    sums = tile(xs, ws)                                            len(xs) · len(ws) vectors of zeros
    for place in range(0, width, LANES):
        sums = outer(sums, loads(xs, place), loads(ws, place))     sums[i, j] += x_i · w_j
    numbers = totals(sums)
"""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from labkit.parts.kernels.cpu.lanes import (
    _F32,
    _I32,
    _I64,
    _VECTOR,
    LANES,
    VECTOR,
    _at,
    _call,
    _first,
    _spread,
    _wide,
)


def _parts(builder, many):
    return cgutils.unpack_tuple(builder, many)


def _vectors(count):
    return types.UniTuple(VECTOR, count)


@intrinsic
def tile(context, rows, columns):
    """A vector of zeros for each pair of a row and a column."""
    kind = _vectors(rows.count * columns.count)

    def build(own, builder, signature, _given):
        return own.make_tuple(builder, signature.return_type, [ir.Constant(_VECTOR, [0.0] * LANES)] * kind.count)

    return kind(rows, columns), build


@intrinsic
def loads(context, addresses, place):
    """LANES float32 from `place` on, of each row."""

    def build(own, builder, signature, given):
        read = []
        for address in _parts(builder, given[0]):
            read.append(builder.load(_wide(builder, address, given[1])))
            read[-1].align = 4
        return own.make_tuple(builder, signature.return_type, read)

    return _vectors(addresses.count)(addresses, types.int64), build


@intrinsic
def loads_some(context, addresses, place, count):
    """The first `count` float32 from `place` on, then zeros, of each row."""

    def build(own, builder, signature, given):
        none, mask = ir.Constant(_VECTOR, [0.0] * LANES), _first(builder, given[2])
        read = [
            _call(
                builder,
                f"llvm.masked.load.v{LANES}f32.p0",
                _VECTOR,
                [_wide(builder, address, given[1]), ir.Constant(_I32, 4), mask, none],
            )
            for address in _parts(builder, given[0])
        ]
        return own.make_tuple(builder, signature.return_type, read)

    return _vectors(addresses.count)(addresses, types.int64, types.int64), build


@intrinsic
def spreads(context, addresses, place):
    """The float32 at `place` of each row, in every lane of its vector."""

    def build(own, builder, signature, given):
        read = [
            _spread(builder, builder.load(_at(builder, address, given[1], _F32)))
            for address in _parts(builder, given[0])
        ]
        return own.make_tuple(builder, signature.return_type, read)

    return _vectors(addresses.count)(addresses, types.int64), build


@intrinsic
def outer(context, sums, rows, columns):
    """sums[i, j] + rows[i] columns[j], lane by lane."""
    kind = _vectors(sums.count)

    def build(own, builder, signature, given):
        before, left, right = (_parts(builder, one) for one in given)
        after = [
            _call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, [one, other, before[i * len(right) + j]])
            for i, one in enumerate(left)
            for j, other in enumerate(right)
        ]
        return own.make_tuple(builder, signature.return_type, after)

    return kind(sums, rows, columns), build


@intrinsic
def along(context, sums, rows, others):
    """sums[i] + rows[i] others[i], lane by lane."""
    kind = _vectors(sums.count)

    def build(own, builder, signature, given):
        before, left, right = (_parts(builder, one) for one in given)
        after = [
            _call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, [a, b, c])
            for a, b, c in zip(left, right, before, strict=True)
        ]
        return own.make_tuple(builder, signature.return_type, after)

    return kind(sums, rows, others), build


@intrinsic
def totals(context, sums):
    """The sum of the lanes of each vector, always in the same order."""
    kind = types.UniTuple(types.float32, sums.count)

    def build(own, builder, signature, given):
        return own.make_tuple(
            builder, signature.return_type, [_folded(builder, one) for one in _parts(builder, given[0])]
        )

    return kind(sums), build


def _folded(builder, vector):
    width = LANES
    while width > 1:
        width //= 2
        kind, none = ir.VectorType(_I32, width), ir.Constant(vector.type, ir.Undefined)
        low = builder.shuffle_vector(vector, none, ir.Constant(kind, list(range(width))))
        high = builder.shuffle_vector(vector, none, ir.Constant(kind, list(range(width, 2 * width))))
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _shuffled(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _side_by_side(builder, vectors):
    """The totals of 1, 2 or 4 vectors as one short vector: each is folded as in `_folded`, but several at once."""
    many, width, none = len(vectors), LANES, ir.Constant(vectors[0].type, ir.Undefined)
    while len(vectors) > 1:  # the halves of two vectors make one vector of sums
        half = width // 2
        low = [start + lane for start in range(0, 2 * LANES, width) for lane in range(half)]
        high = [lane + half for lane in low]
        vectors = [
            builder.fadd(_shuffled(builder, one, other, low), _shuffled(builder, one, other, high))
            for one, other in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    half = width // 2
    while half:  # the sums stay in their places, width lanes apart
        turned = [lane // width * width + (lane + half) % width for lane in range(LANES)]
        vectors = [builder.fadd(vectors[0], _shuffled(builder, vectors[0], none, turned))]
        half //= 2
    return _shuffled(builder, vectors[0], none, list(range(0, many * width, width)))


@intrinsic
def scratch(context, count):
    """The address of room for `count` float32 (a literal number) on the stack, for as long as the kernel runs."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    numbers = count.literal_value

    def build(_context, builder, _signature, _given):
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(_F32, numbers))
            room.align = 64
        return builder.ptrtoint(room, ir.IntType(64))

    return types.int64(count), build


@intrinsic
def plus(context, ones, others):
    """ones[i] + others[i], for tuples of vectors and of numbers alike."""

    def build(own, builder, signature, given):
        pairs = zip(_parts(builder, given[0]), _parts(builder, given[1]), strict=True)
        return own.make_tuple(builder, signature.return_type, [builder.fadd(a, b) for a, b in pairs])

    return ones(ones, others), build


@intrinsic
def copies(context, rows, columns):
    """A tile in which each row is these vectors."""
    kind = _vectors(rows.count * columns.count)

    def build(own, builder, signature, given):
        return own.make_tuple(builder, signature.return_type, _parts(builder, given[1]) * rows.count)

    return kind(rows, columns), build


@intrinsic
def pick_up(context, rows, place, columns):
    """A tile read from the rows, from `place` on; `columns` says how many vectors wide."""
    kind = _vectors(rows.count * columns.count)

    def build(own, builder, signature, given):
        read = []
        for address in _parts(builder, given[0]):
            for j in range(columns.count):
                at = builder.add(given[1], ir.Constant(_I64, LANES * j))
                read.append(builder.load(_wide(builder, address, at)))
                read[-1].align = 4
        return own.make_tuple(builder, signature.return_type, read)

    return kind(rows, types.int64, columns), build


@intrinsic
def put(context, rows, place, sums):
    """Writes a tile to the rows, from `place` on."""
    wide = sums.count // rows.count

    def build(_context, builder, _signature, given):
        parts = _parts(builder, given[2])
        for i, address in enumerate(_parts(builder, given[0])):
            for j in range(wide):
                at = builder.add(given[1], ir.Constant(_I64, LANES * j))
                builder.store(parts[i * wide + j], _wide(builder, address, at)).align = 4
        return _context.get_dummy_value()

    return types.void(rows, types.int64, sums), build


@intrinsic
def put_some(context, rows, place, sums, count):
    """Writes the first `count` of the one vector that each row has."""

    def build(_context, builder, _signature, given):
        mask = _first(builder, given[3])
        for address, part in zip(_parts(builder, given[0]), _parts(builder, given[2]), strict=True):
            arguments = [part, _wide(builder, address, given[1]), ir.Constant(_I32, 4), mask]
            _call(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), arguments)
        return _context.get_dummy_value()

    return types.void(rows, types.int64, sums, types.int64), build


@intrinsic
def fetch_rows(context, rows, place):
    """Asks for the cache line of the float32 at `place` of each row; nothing happens where it cannot be had."""

    def build(_context, builder, _signature, given):
        for address in _parts(builder, given[0]):
            where = builder.bitcast(_at(builder, address, given[1], _F32), ir.IntType(8).as_pointer())
            hints = [ir.Constant(_I32, number) for number in (0, 2, 1)]  # to read, into the second cache, data
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), [where, *hints])
        return _context.get_dummy_value()

    return types.void(rows, types.int64), build


@njit(cache=True, error_model="numpy")
def dot_sums(xs, ws, width, ahead):
    """Every row of `xs` times every row of `ws`: len(xs) · len(ws) vectors whose lanes are still to be added up.

    Each product is summed in one vector from the first place to the last, so it does not depend on the tile it is in.
    What lies `ahead` of `ws` is asked for meanwhile, unless that is 0.
    """
    sums = tile(xs, ws)
    even = width // LANES * LANES
    if ahead:
        for place in range(0, even, LANES):
            fetch_rows(ws, place + ahead)
            sums = outer(sums, loads(xs, place), loads(ws, place))
    else:
        for place in range(0, even, LANES):
            sums = outer(sums, loads(xs, place), loads(ws, place))
    if even < width:
        sums = outer(sums, loads_some(xs, even, width - even), loads_some(ws, even, width - even))
    return sums
