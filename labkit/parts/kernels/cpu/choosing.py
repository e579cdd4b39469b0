"""The k largest of a row of numbers, in order: what compiled gates choose with.

Most of a row is never sorted. A bound that k numbers reach is found first (the least of at least k group maxima), raised
by bisection until hardly more than k numbers reach it, and only those are ranked, each against all others at once. There
is hardly a branch that depends on the numbers. Equal numbers keep the order in which they stand.
"""

from numba import njit

from labkit.parts.kernels.cpu.comparing import (
    HIGHEST,
    LOWEST,
    bits,
    count,
    keep,
    larger,
    least,
    most,
    none,
    of_bits,
    place_at,
    put_counts,
    put_place,
    reach,
    size,
    smaller,
)
from labkit.parts.kernels.cpu.lanes import FAST, LANES, load, number, put_number, spread, store


@njit(inline="always")
def rank_of(value):
    """A whole number for each float32, in the same order."""
    pattern = bits(value)
    return pattern if pattern >= 0 else -(pattern & 0x7FFFFFFF)


@njit(inline="always")
def of_rank(rank):
    return of_bits(rank if rank >= 0 else 0x80000000 | -rank)


@njit(inline="always")
def _bounds(numbers, vectors, chosen):
    """Ranks: one that at least `chosen` numbers reach (maxima of that many groups), one that none reaches."""
    groups = (chosen + LANES - 1) // LANES
    bottom, top = spread(HIGHEST), spread(LOWEST)
    for group in range(groups):
        here = spread(LOWEST)
        for v in range(group, vectors, groups):
            here = larger(here, load(numbers, v * LANES))
        top, bottom = larger(top, here), smaller(bottom, here)
    return rank_of(least(bottom)), rank_of(most(top)) + 1


@njit(inline="always")
def _collect(numbers, count, bound, places):
    """Lists the places of the numbers that reach the bound; returns how many they are."""
    wall, met = spread(bound), 0
    for start in range(0, count, LANES):
        lanes = reach(load(numbers, start), wall) & ((1 << min(count - start, LANES)) - 1)
        keep(places, met, start, lanes)
        met += size(lanes)
    return met


@njit(inline="always")
def _collect_equal(numbers, count, bound, met, wanted, places):
    """Adds the places of numbers that equal the bound until the list is as long as wanted."""
    place = 0
    while met < wanted and place < count:
        if number(numbers, place) == bound:
            put_place(places, met, place)
            met += 1
        place += 1
    return met


@njit(inline="always")
def _put_in_order(numbers, places, met, values, counts, best, where):
    """Writes each where it belongs: behind those that are larger, and equal ones that came earlier."""
    for i in range(met):
        put_number(values, i, number(numbers, place_at(places, i)))
    store(values, met, spread(LOWEST))
    for start in range(0, met, LANES):
        mine, before = load(values, start), none()
        for i in range(met):
            before = count(before, spread(number(values, i)), mine)
        put_counts(counts, start, before)
    together = 0
    for i in range(met):
        before = place_at(counts, i)
        put_number(best, before, number(values, i))
        put_place(where, before, place_at(places, i))
        together += before
    if together != met * (met - 1) >> 1:  # equal numbers want the same place
        for i in range(met):
            before, mine = place_at(counts, i), number(values, i)
            for j in range(i):
                before += number(values, j) == mine
            put_number(best, before, mine)
            put_place(where, before, place_at(places, i))


@njit(error_model="numpy", fastmath=FAST)
def choose(numbers, count, chosen, values, places, counts, best, where):
    """Writes the `chosen` largest of `count` numbers to `best` and their places to `where`, the largest first.

    All are addresses. `numbers` has no NaN and is filled with -inf up to a whole vector; the others have room for `count`
    numbers and two vectors more, `values` and `best` of float32, the others of int32.
    """
    vectors = (count + LANES - 1) // LANES
    enough = chosen + max(chosen // 4, LANES)
    low, high = _bounds(numbers, vectors, chosen)
    found = count
    while found > enough and high - low > 1:
        middle = (low + high) >> 1
        bound, reached = spread(of_rank(middle)), 0
        for v in range(vectors):
            reached += size(reach(load(numbers, v * LANES), bound))
        if reached >= chosen:
            low, found = middle, reached
        else:
            high = middle
    if found > enough:
        met = _collect(numbers, count, of_rank(high), places)
        met = _collect_equal(numbers, count, of_rank(low), met, chosen, places)
    else:
        met = _collect(numbers, count, of_rank(low), places)
    _put_in_order(numbers, places, met, values, counts, best, where)
