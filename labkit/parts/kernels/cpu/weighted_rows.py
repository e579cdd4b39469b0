"""Compiled sums of rows of a large table, each input with its own rows and weights, and their gradients."""

from numba import njit, types

from labkit.parts.kernels.cpu.comparing import place_at, prefetch, put_place
from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    argument,
    fma,
    load,
    load_some,
    multiply,
    number,
    put_number,
    put_whole,
    spread,
    store,
    store_some,
    ticket,
    total,
    whole,
    zeros,
)

AHEAD = 16
"""Rows that are asked for before they are needed: memory takes longer to answer than a row takes to add."""


@njit(inline="always")
def _row(table, width, index):
    """Where a row begins; of nothing (-1) the first one, which has no weight."""
    return table + 4 * width * max(index, 0)


@njit(inline="always")
def _weight(weights, index, read):
    return spread(number(weights, read) if whole(index, read) >= 0 else types.float32(0))


@njit(inline="always")
def _four(table, width, index, weights, read, last, out):
    """Adds four rows to the sum, column by column, while later ones are on their way."""
    a, b = _row(table, width, whole(index, read)), _row(table, width, whole(index, read + 1))
    c, d = _row(table, width, whole(index, read + 2)), _row(table, width, whole(index, read + 3))
    later = min(read + AHEAD, last - 3)
    e, f = _row(table, width, whole(index, later)), _row(table, width, whole(index, later + 1))
    g, h = _row(table, width, whole(index, later + 2)), _row(table, width, whole(index, later + 3))
    wa, wb = _weight(weights, index, read), _weight(weights, index, read + 1)
    wc, wd = _weight(weights, index, read + 2), _weight(weights, index, read + 3)
    full = width // LANES * LANES
    for place in range(0, full, LANES):
        prefetch(e, place)
        prefetch(f, place)
        prefetch(g, place)
        prefetch(h, place)
        first = fma(wb, load(b, place), fma(wa, load(a, place), load(out, place)))
        store(out, place, fma(wd, load(d, place), fma(wc, load(c, place), first)))
    if full < width:
        left = width - full
        first = fma(wb, load_some(b, full, left), fma(wa, load_some(a, full, left), load_some(out, full, left)))
        second = fma(wd, load_some(d, full, left), fma(wc, load_some(c, full, left), first))
        store_some(out, full, second, left)


@njit(inline="always")
def _one(row, weight, width, out):
    """Adds a row to the sum."""
    full = width // LANES * LANES
    for place in range(0, full, LANES):
        store(out, place, fma(weight, load(row, place), load(out, place)))
    if full < width:
        left = width - full
        store_some(out, full, fma(weight, load_some(row, full, left), load_some(out, full, left)), left)


@njit(inline="always")
def _clear(out, width):
    full = width // LANES * LANES
    for place in range(0, full, LANES):
        store(out, place, zeros())
    if full < width:
        store_some(out, full, zeros(), width - full)


@fast_kernel
def sums(p):
    """table (slots, width), index and weights (inputs, reads) -> out (inputs, width)."""
    pieces, table, width, index = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4)
    weights, inputs, reads, out = argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for i in range(inputs * piece // pieces, inputs * (piece + 1) // pieces):
            at, read, end = out + 4 * i * width, i * reads, (i + 1) * reads
            _clear(at, width)
            while read + 4 <= end:
                _four(table, width, index, weights, read, inputs * reads, at)
                read += 4
            while read < end:
                _one(_row(table, width, whole(index, read)), _weight(weights, index, read), width, at)
                read += 1


@fast_kernel
def sort(p):
    """Which reads are of which slot: index (reads,) -> order (reads,), and for the u-th slot that is read its number and
    where its reads begin in the order. counts (slots,) is zero before. Writes how many slots are read."""
    pieces, index, reads, slots = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4)
    counts, order, used, starts, found = argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for read in range(reads):
            slot = whole(index, read)
            if slot >= 0:
                put_place(counts, slot, place_at(counts, slot) + 1)
        sum_, many = 0, 0
        for slot in range(slots):
            count = place_at(counts, slot)
            put_whole(used, many, slot)
            put_place(starts, many, sum_)
            put_place(counts, slot, sum_)
            sum_ += count
            many += count > 0
        put_whole(used, many, slots)
        put_place(starts, many, sum_)
        put_whole(found, 0, many)
        for read in range(reads):
            slot = whole(index, read)
            if slot >= 0:
                at = place_at(counts, slot)
                put_place(order, at, read)
                put_place(counts, slot, at + 1)


@njit(inline="always")
def _slope(row, weight, slope, width, out, begins):
    """One read: returns row·slope and adds weight times slope to the gradient of the row."""
    full, left = width // (2 * LANES) * 2 * LANES, width % (2 * LANES)
    a, b = zeros(), zeros()
    for place in range(0, full, 2 * LANES):
        first, second = load(slope, place), load(slope, place + LANES)
        a, b = fma(load(row, place), first, a), fma(load(row, place + LANES), second, b)
        if begins:
            store(out, place, multiply(weight, first))
            store(out, place + LANES, multiply(weight, second))
        else:
            store(out, place, fma(weight, first, load(out, place)))
            store(out, place + LANES, fma(weight, second, load(out, place + LANES)))
    for place in range(full, width, LANES):
        left = min(LANES, width - place)
        first = load_some(slope, place, left)
        a = fma(load_some(row, place, left), first, a)
        before = zeros() if begins else load_some(out, place, left)
        store_some(out, place, fma(weight, first, before), left)
    return total(a) + total(b)


@fast_kernel
def slopes(p):
    """Gradients, slot after slot, so that the table is read once and its gradient written once, both in order.

    slope (inputs, width) -> to_table (slots, width), or (used, width) where `dense` is 0, and to_weights (inputs, reads).
    """
    pieces, table, width, weights = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4)
    reads, slope, order, used, starts = argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9)
    many, dense, to_table, to_weights = argument(p, 10), argument(p, 11), argument(p, 12), argument(p, 13)
    last = place_at(starts, many) - 1
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for u in range((many + 1) * piece // pieces, (many + 1) * (piece + 1) // pieces):
            slot = whole(used, u)
            if dense:
                for empty in range(whole(used, u - 1) + 1 if u else 0, slot):
                    _clear(to_table + 4 * width * empty, width)
            if u == many:
                break
            out, row, begin = (
                to_table + 4 * width * (slot if dense else u),
                table + 4 * width * slot,
                place_at(starts, u),
            )
            for at in range(begin, place_at(starts, u + 1)):
                read, next_ = place_at(order, at), place_at(order, min(at + 1, last))
                later = slope + 4 * width * (next_ // reads)
                for place in range(0, width, LANES):
                    prefetch(later, place)
                mine, weight = slope + 4 * width * (read // reads), spread(number(weights, read))
                put_number(to_weights, read, _slope(row, weight, mine, width, out, at == begin))
