"""Small matrix products whose sums stay in registers: what the kernels of a bank of experts are made of.

`products` is the tile: some rows times a few vectors of columns, one step along the inner width after the other. Every
sum is taken in that order however many rows are computed at once, so what a row gets does not depend on the rows around
it. `transpose` and `multiplied` bring the factors into the order in which the tile reads them fastest: rows in groups of
TALL with their elements interleaved, columns in panels of PANEL.
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
    load,
    load_some,
    store,
    store_some,
    whole,
)

_BYTES = ir.IntType(8).as_pointer()
TALL = 12 if LANES == 16 else 6
"""Rows of the tallest tile: with two vectors of columns its sums and factors just fit into the registers."""
PANEL = 2 * LANES
"""Columns of a tile."""
STEPS = 256
"""Rows of a panel that are multiplied at once: then the panel stays in the first cache."""
LINES = 3 * LANES
"""Units whose gradients are computed one after the other: a whole number of tall tiles, and of vectors."""


def _some(builder, address, place, mask):
    none = ir.Constant(_VECTOR, [0.0] * LANES)
    given = [_wide(builder, address, place), ir.Constant(_I32, 4), mask, none]
    return _call(builder, f"llvm.masked.load.v{LANES}f32.p0", _VECTOR, given)


def _put_some(builder, address, place, value, mask):
    given = [value, _wide(builder, address, place), ir.Constant(_I32, 4), mask]
    _call(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), given)


def _constant(value):
    return ir.Constant(_I64, value)


def products(rows: int, vectors: int):
    """out[i, j] (+)= Σ_k a[i, k] b[k, j] for `rows` rows i and the first `columns` (at most vectors·LANES) columns j.

    The returned function takes addresses and strides in elements: a, between rows of a, between its k; b, between its k;
    how many k; out, between its rows; columns; and whether to add to what stands in out (1) or to replace it (0).
    """

    @intrinsic
    def tile(context, a, a_row, a_step, b, b_row, steps, out, out_row, columns, onto):
        def build(context, builder, _signature, given):
            a, a_row, a_step, b, b_row, steps, out, out_row, columns, onto = given
            starts = [_constant(LANES * place) for place in range(vectors)]
            masks = [_first(builder, builder.sub(columns, start)) for start in starts]
            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in starts] for _ in range(rows)]
            lines = [builder.mul(out_row, _constant(row)) for row in range(rows)]
            places = [
                (builder.add(line, start), mask, total)
                for line, mine in zip(lines, sums, strict=True)
                for start, mask, total in zip(starts, masks, mine, strict=True)
            ]
            with builder.if_else(builder.icmp_signed("!=", onto, _constant(0))) as (more, fresh):
                with more:
                    for place, mask, total in places:
                        builder.store(_some(builder, out, place, mask), total)
                with fresh:
                    for _, _, total in places:
                        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), total)
            firsts = [builder.mul(a_row, _constant(row)) for row in range(rows)]
            with cgutils.for_range(builder, steps) as loop:
                here, there = builder.mul(loop.index, a_step), builder.mul(loop.index, b_row)
                second = [
                    _some(builder, b, builder.add(there, start), mask)
                    for start, mask in zip(starts, masks, strict=True)
                ]
                for first, mine in zip(firsts, sums, strict=True):
                    factor = _spread(builder, builder.load(_at(builder, a, builder.add(here, first), _F32)))
                    for vector, total in zip(second, mine, strict=True):
                        terms = [factor, vector, builder.load(total)]
                        builder.store(_call(builder, f"llvm.fma.v{LANES}f32", _VECTOR, terms), total)
            for place, mask, total in places:
                _put_some(builder, out, place, builder.load(total), mask)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), build

    return tile


@intrinsic
def _turn(context, rows, row, count, width, out, out_row):
    """A square of LANES rows and columns with rows and columns exchanged.

    rows, elements between them, how many there are (the last is repeated), how many columns to read; out and the
    distance between its rows, all of which are written whole.
    """

    def build(context, builder, _signature, given):
        rows, row, count, width, out, out_row = given
        mask, last, square = _first(builder, width), builder.sub(count, _constant(1)), []
        for number in range(LANES):
            here = _constant(number)
            here = builder.select(builder.icmp_signed("<", here, last), here, last)
            square.append(_some(builder, rows, builder.mul(here, row), mask))
            # The square that is read next from memory lies LANES rows further on.
            ahead = builder.bitcast(_at(builder, rows, builder.mul(_constant(number + LANES), row), _F32), _BYTES)
            hints = [ir.Constant(_I32, value) for value in (0, 2, 1)]
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), [ahead, *hints])
        size = LANES // 2
        while size:
            kind, turned = ir.VectorType(_I32, LANES), list(square)
            low = [lane if not lane & size else LANES + (lane ^ size) for lane in range(LANES)]
            high = [(lane | size) if not lane & size else LANES + lane for lane in range(LANES)]
            for one in range(LANES):
                if not one & size:
                    pair = square[one], square[one | size]
                    turned[one] = builder.shuffle_vector(*pair, ir.Constant(kind, low))
                    turned[one | size] = builder.shuffle_vector(*pair, ir.Constant(kind, high))
            square, size = turned, size // 2
        for number, line in enumerate(square):
            written = builder.store(line, _wide(builder, out, builder.mul(out_row, _constant(number))))
            written.align = 4
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), build


@intrinsic
def where_active(context, unit, slope):
    """The slope where the unit of a rectifier is active, and 0 elsewhere; a unit that is NaN counts as active."""

    def build(_context, builder, _signature, given):
        none = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered("<=", given[0], none), none, given[1])

    return VECTOR(VECTOR, VECTOR), build


_tall, _four, _two, _one = (products(rows, 2) for rows in (TALL, 4, 2, 1))
_four_wide, _two_wide, _one_wide = (products(rows, 16 // rows) for rows in (4, 2, 1))


@njit
def transpose(rows, row, count, width, out, out_row):
    """out[k, i] = rows[i, k] for `count` rows (at most LANES); up to LANES elements behind each row of out are spoilt."""
    for k in range(0, width, LANES):
        _turn(rows + 4 * k, row, count, width - k, out + 4 * k * out_row, out_row)


@njit
def grouped(rows, row, count, width, out):
    """Whole groups of TALL rows, each with its elements interleaved; what is left over stays where it is."""
    for i in range(0, count - TALL + 1, TALL):
        transpose(rows + 4 * i * row, row, TALL, width, out + 4 * i * width, TALL)


@njit
def multiplied(groups, length, rows, row, count, b, steps, out, out_row, columns, onto):
    """out (count, columns) (+)= rows (count, steps) b (steps, columns), where b is a panel.

    `groups` as `grouped` made them of rows of this length, of which `steps` take part.
    """
    i = 0
    while i + TALL <= count:
        _tall(groups + 4 * i * length, 1, TALL, b, PANEL, steps, out + 4 * i * out_row, out_row, columns, onto)
        i += TALL
    while i + 4 <= count:
        _four(rows + 4 * i * row, row, 1, b, PANEL, steps, out + 4 * i * out_row, out_row, columns, onto)
        i += 4
    while i + 2 <= count:
        _two(rows + 4 * i * row, row, 1, b, PANEL, steps, out + 4 * i * out_row, out_row, columns, onto)
        i += 2
    if i < count:
        _one(rows + 4 * i * row, row, 1, b, PANEL, steps, out + 4 * i * out_row, out_row, columns, onto)


@njit
def by_transpose(groups, rows, row, count, matrix, lines, width, panel, line, out, out_row):
    """Rows times the transpose of the matrix's lines from `line` on: a panel of the product rows·matrixᵀ.

    All columns of the panel are written: those past the last line are spoilt, and out has room for them.
    """
    many = min(PANEL, lines - line)
    wide = (many + LANES - 1) // LANES * LANES
    for k in range(0, width, STEPS):
        steps = min(STEPS, width - k)
        for half in range(0, many, LANES):
            start = matrix + 4 * ((line + half) * width + k)
            transpose(start, width, min(LANES, many - half), steps, panel + 4 * half, PANEL)
        here, there = groups + 4 * k * TALL, out + 4 * line
        multiplied(here, width, rows + 4 * k, row, count, panel, steps, there, out_row, wide, 1 if k else 0)


@njit
def _strip(matrix, columns, steps, wide, panel):
    """The first `wide` columns, at most PANEL, as a panel."""
    if wide == PANEL:
        for k in range(steps):
            store(panel, k * PANEL, load(matrix, k * columns))
            store(panel, k * PANEL + LANES, load(matrix, k * columns + LANES))
    else:
        for k in range(steps):
            store(panel, k * PANEL, load_some(matrix, k * columns, wide))
            store(panel, k * PANEL + LANES, load_some(matrix, k * columns + LANES, wide - LANES))


@njit
def by_matrix(groups, rows, row, count, matrix, length, columns, panel, out):
    """out (count, columns) = rows (count, length) matrix (length, columns)."""
    i, steps = 0, length
    if count >= TALL:
        for column in range(0, columns, PANEL):
            wide = min(PANEL, columns - column)
            for start in range(0, length, STEPS):
                steps, onto = min(STEPS, length - start), 1 if start else 0
                _strip(matrix + 4 * (start * columns + column), columns, steps, wide, panel)
                here, there = groups + 4 * start * TALL, out + 4 * column
                multiplied(here, length, rows + 4 * start, row, count, panel, steps, there, columns, wide, onto)
        return
    # For a few rows the matrix is read once, from front to back, in strips that are as broad as the sums allow.
    while i + 4 <= count:
        for column in range(0, columns, 4 * LANES):
            here, there = matrix + 4 * column, out + 4 * (i * columns + column)
            _four_wide(rows + 4 * i * row, row, 1, here, columns, steps, there, columns, columns - column, 0)
        i += 4
    while i + 2 <= count:
        for column in range(0, columns, 8 * LANES):
            here, there = matrix + 4 * column, out + 4 * (i * columns + column)
            _two_wide(rows + 4 * i * row, row, 1, here, columns, steps, there, columns, columns - column, 0)
        i += 2
    if i < count:
        for column in range(0, columns, 16 * LANES):
            here, there = matrix + 4 * column, out + 4 * (i * columns + column)
            _one_wide(rows + 4 * i * row, row, 1, here, columns, steps, there, columns, columns - column, 0)


@njit
def fetch(rows, order, start, count, choices, width, out):
    """The rows of a block, side by side."""
    for i in range(count):
        here = rows + 4 * width * (whole(order, start + i) // choices)
        for at in range(0, width, LANES):
            store_some(out, i * width + at, load_some(here, at, width - at), width - at)


@njit
def outer_products(group, lines, panel, count, out, width, columns, onto):
    """out[i, j] (+)= Σ_row group[row, i] panel[row, j] for `lines` (at most LINES) i and the first `columns` of a panel."""
    line = 0
    while line + TALL <= lines:
        _tall(group + 4 * line, 1, LINES, panel, PANEL, count, out + 4 * line * width, width, columns, onto)
        line += TALL
    while line + 4 <= lines:
        _four(group + 4 * line, 1, LINES, panel, PANEL, count, out + 4 * line * width, width, columns, onto)
        line += 4
    while line < lines:
        _one(group + 4 * line, 1, LINES, panel, PANEL, count, out + 4 * line * width, width, columns, onto)
        line += 1
