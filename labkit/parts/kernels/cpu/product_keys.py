"""Compiled product-key memory: the best pairs of half keys, and sums of the rows of a large table."""

from numba import njit

from labkit.parts.kernels.cpu.choosing import choose
from labkit.parts.kernels.cpu.comparing import LOWEST, place_at, without_nan
from labkit.parts.kernels.cpu.kernel import fast_kernel
from labkit.parts.kernels.cpu.lanes import (
    FAST,
    LANES,
    add,
    argument,
    fma,
    load,
    load_some,
    number,
    put_number,
    put_whole,
    spread,
    store,
    store_some,
    ticket,
    whole,
    zeros,
)


@njit(inline="always")
def _copied(row, count, to):
    """The row without NaN, then -inf up to a whole vector."""
    full = count // LANES * LANES
    for place in range(0, full, LANES):
        store(to, place, without_nan(load(row, place)))
    if full < count:
        store(to, full, spread(LOWEST))
        store_some(to, full, without_nan(load_some(row, full, count - full)), count - full)


@njit(error_model="numpy", fastmath=FAST)
def _half(row, count, chosen, numbers, values, places, counts, best, where):
    _copied(row, count, numbers)
    choose(numbers, count, chosen, values, places, counts, best, where)
    for i in range(chosen):
        put_number(best, i, number(row, place_at(where, i)))


@njit(error_model="numpy", fastmath=FAST)
def _pairs(
    first, second, first_at, second_at, keys, chosen, stairs, numbers, values, places, counts, top, top_at, best, pairs
):
    """Of the sorted halves, only pairs (a, b) with (a + 1)(b + 1) <= k can be among the k best."""
    count = 0
    for a in range(chosen):
        mine, many = spread(number(first, a)), whole(stairs, a)
        for b in range(0, many, LANES):
            store(numbers, count + b, without_nan(add(mine, load(second, b))))
        count += many
    store(numbers, count, spread(LOWEST))
    choose(numbers, count, chosen, values, places, counts, top, top_at)
    for i in range(chosen):
        place = chosen + 2 * place_at(top_at, i)
        a, b = whole(stairs, place), whole(stairs, place + 1)
        put_number(best, i, number(first, a) + number(second, b))
        put_whole(pairs, i, place_at(first_at, a) * keys + place_at(second_at, b))


@fast_kernel
def best_pairs(p):
    """For each token and head, the k best sums of a score of the first half and one of the second.

    scores (heads, 2, tokens, keys) -> best (tokens, heads, k), pairs (tokens, heads, k).
    """
    pieces = argument(p, 1)
    scores, tokens, heads, keys, chosen = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    best, pairs, stairs, work, room = argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 10), argument(p, 11)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        numbers, step = work + piece * room * 40, 4 * room
        values, places, top, top_at = numbers + step, numbers + 2 * step, numbers + 3 * step, numbers + 4 * step
        first, first_at, second = numbers + 5 * step, numbers + 6 * step, numbers + 7 * step
        second_at, counts = numbers + 8 * step, numbers + 9 * step
        for token in range(tokens * piece // pieces, tokens * (piece + 1) // pieces):
            for head in range(heads):
                row = scores + 4 * keys * (2 * head * tokens + token)
                _half(row, keys, chosen, numbers, values, places, counts, first, first_at)
                row += 4 * keys * tokens
                _half(row, keys, chosen, numbers, values, places, counts, second, second_at)
                at = (token * heads + head) * chosen
                _pairs(
                    first, second, first_at, second_at, keys, chosen, stairs, numbers, values, places, counts, top, top_at,
                    best + 4 * at, pairs + 8 * at,
                )  # fmt: skip


@njit(inline="always")
def _part(address, place, left):
    """A vector, or what is left of a row."""
    return load(address, place) if left >= LANES else load_some(address, place, left)


@njit(inline="always")
def _put_part(address, place, value, left):
    if left >= LANES:
        store(address, place, value)
    else:
        store_some(address, place, value, left)


@fast_kernel
def query_slopes(p):
    """Gradient of the queries: for each half, the sum of its chosen keys times the gradients of the pairs they are in.

    slopes, pairs (tokens, heads, k), halves (heads, 2, keys, width) -> out (tokens, heads, 2, width).
    """
    pieces, slopes, pairs, tokens, heads = (
        argument(p, 1),
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
    )
    chosen, halves, keys, width, out = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 10)
    work = argument(p, 11)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        rows, size = work + 16 * chosen * piece, 4 * width
        for row in range(tokens * heads * piece // pieces, tokens * heads * (piece + 1) // pieces):
            mine, bank = slopes + 4 * row * chosen, halves + row % heads * 2 * keys * size
            for c in range(chosen):
                pair = whole(pairs, row * chosen + c)
                first = pair // keys
                put_whole(rows, c, bank + first * size)
                put_whole(rows, chosen + c, bank + (keys + pair - first * keys) * size)
            for side in range(2):
                at = out + (2 * row + side) * size
                for place in range(0, width, LANES):
                    total, left = zeros(), width - place
                    for c in range(chosen):
                        key = _part(whole(rows, side * chosen + c), place, left)
                        total = fma(spread(number(mine, c)), key, total)
                    _put_part(at, place, total, left)


@fast_kernel
def key_slopes(p):
    """Gradient of the half keys: each is the sum of the queries that chose it. A piece is a head, a side and a stripe.

    slopes, pairs (tokens, heads, k), queries (tokens, heads, 2, width) -> adds to out (heads, 2, keys, width).
    """
    pieces, slopes, pairs, tokens, heads = (
        argument(p, 1),
        argument(p, 2),
        argument(p, 3),
        argument(p, 4),
        argument(p, 5),
    )
    chosen, queries, keys, width, out = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9), argument(p, 10)
    stripe = argument(p, 11)
    stripes = (width + stripe - 1) // stripe
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        bank, begin = piece // stripes, piece % stripes * stripe
        head, side, end = bank // 2, bank % 2, min(width, begin + stripe)
        for token in range(tokens):
            row = token * heads + head
            query = queries + 4 * width * (2 * row + side)
            for c in range(row * chosen, row * chosen + chosen):
                pair, slope = whole(pairs, c), spread(number(slopes, c))
                first = pair // keys
                at = out + 4 * width * (bank * keys + (pair - first * keys if side else first))
                for place in range(begin, end, LANES):
                    left = width - place
                    _put_part(at, place, fma(slope, _part(query, place, left), _part(at, place, left)), left)
