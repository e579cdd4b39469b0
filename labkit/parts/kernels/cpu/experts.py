"""The compiled bank of experts: rows sorted by expert, both layers of an expert on a block of rows while they are in cache.

`sort` says which rows belong to which expert and cuts them into blocks; `forward` and `backward_rows` take blocks as
their pieces, `backward_weights` panels of one expert's weights, `combine` blocks of inputs. Nobody adds to what another
piece writes, so the answer does not depend on how many threads there are.

The plan that `sort` writes (int64): blocks, wrong indices, dropped ones, slots taken; then for each block its expert,
first sorted place and number of rows; then E + 1 starts of experts; then the position (input · K + choice) in each sorted place.
"""

from labkit.parts.kernels.cpu.expert_sizes import BLOCK, COMBINED, HEAD
from labkit.parts.kernels.cpu.expert_tiles import TALL
from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    add,
    argument,
    load_some,
    multiply,
    number,
    put_whole,
    spread,
    store_some,
    ticket,
    whole,
    zeros,
)
from labkit.parts.kernels.cpu.rows import clipped, divided, picked, rows_at
from labkit.parts.kernels.cpu.small_networks import EIGHT, FOUR, SIX, THREE, through_rooms


@kernel
def sort(p):
    """index, how many, experts, plan, places for blocks in the plan."""
    if ticket(p) > 0:
        return
    index, many, experts, plan, room = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5), argument(p, 6)
    blocks = plan + 8 * HEAD
    starts = blocks + 24 * room
    order = starts + 8 * (experts + 1)
    for expert in range(experts + 1):
        put_whole(starts, expert, 0)
    wrong = dropped = 0
    for place in range(many):
        expert = whole(index, place)
        if expert >= experts or expert < -1:
            wrong += 1
        elif expert < 0:
            dropped += 1
        else:
            put_whole(starts, expert, whole(starts, expert) + 1)
    put_whole(plan, 1, wrong)
    put_whole(plan, 2, dropped)
    put_whole(plan, 3, 0)
    if wrong:
        return
    first = count = 0
    for expert in range(experts):
        rows = whole(starts, expert)
        pieces = (rows + BLOCK - 1) // BLOCK
        even = ((rows + pieces - 1) // max(pieces, 1) + TALL - 1) // TALL * TALL
        for start in range(0, rows, max(even, 1)):
            put_whole(blocks, 3 * count, expert)
            put_whole(blocks, 3 * count + 1, first + start)
            put_whole(blocks, 3 * count + 2, min(even, rows - start))
            count += 1
        first += rows
        put_whole(starts, expert, first)  # the end, counted down to the start below
    put_whole(starts, experts, first)
    put_whole(plan, 0, count)
    for back in range(many):
        place = many - 1 - back
        expert = whole(index, place)
        if expert >= 0:
            at = whole(starts, expert) - 1
            put_whole(starts, expert, at)
            put_whole(order, at, place)


@kernel
def forward(p):
    """plan, order, choices, x, in_weight, in_bias, out_weight, out_bias, weights, hidden, whether it is kept, out; sizes."""
    slot, pieces = -1, argument(p, 1)
    plan, order, choices = argument(p, 2), argument(p, 3), argument(p, 4)
    x, in_weight, in_bias, out_weight = argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8)
    out_bias, weights, hidden, kept, out = (
        argument(p, 9),
        argument(p, 10),
        argument(p, 11),
        argument(p, 12),
        argument(p, 13),
    )
    width, inner, padded, outer = argument(p, 14), argument(p, 15), argument(p, 16), argument(p, 17)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        if slot < 0:
            slot = ticket(plan + 24)
        block = plan + 8 * HEAD + 24 * piece
        expert, start, count = whole(block, 0), whole(block, 1), whole(block, 2)
        ours, first = hidden + 4 * padded * (start if kept else slot * BLOCK), order + 8 * start
        w1, b1 = in_weight + 4 * expert * inner * width, in_bias + 4 * expert * inner
        w2, b2 = out_weight + 4 * expert * inner * outer, out_bias + 4 * expert * outer
        here, fresh = 0, 1  # the rows after the first few find the weights in a near cache
        while count - here > 3:
            six, rooms = picked(first, here, count - here, SIX), rows_at(ours, clipped(here, count, SIX), padded)
            xs, ys = rows_at(x, divided(six, choices), width), rows_at(out, six, outer)
            through_rooms(xs, rooms, ys, w1, b1, w2, b2, width, inner, outer, FOUR, fresh)
            here, fresh = here + 6, 0
        while count - here > 1:
            three, fews = picked(first, here, count - here, THREE), rows_at(ours, clipped(here, count, THREE), padded)
            us, vs = rows_at(x, divided(three, choices), width), rows_at(out, three, outer)
            through_rooms(us, fews, vs, w1, b1, w2, b2, width, inner, outer, FOUR, fresh)
            here, fresh = here + 3, 0
        if here < count:
            at = whole(first, here)
            one, own, its = (x + 4 * width * (at // choices),), (ours + 4 * padded * here,), (out + 4 * outer * at,)
            through_rooms(one, own, its, w1, b1, w2, b2, width, inner, outer, EIGHT, fresh)
        for i in range(count):
            position = whole(first, i)
            weight, there = spread(number(weights, position)), out + 4 * outer * position
            for at in range(0, outer, LANES):
                left = outer - at
                store_some(there, at, multiply(weight, load_some(there, at, left)), left)


@kernel
def few(p):
    """The whole answer of a few inputs, one choice after the other: index, inputs, choices, ..., room, out, faulty; sizes."""
    index, inputs, choices, x = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    in_weight, in_bias, out_weight, out_bias = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9)
    weights, hidden, out, faulty = argument(p, 10), argument(p, 11), argument(p, 12), argument(p, 13)
    experts, width, inner, outer = argument(p, 14), argument(p, 15), argument(p, 16), argument(p, 17)
    said = hidden + 4 * inner
    for i in range(inputs):
        there = out + 4 * outer * i
        for at in range(0, outer, LANES):
            store_some(there, at, zeros(), outer - at)
        for choice in range(choices):
            position = i * choices + choice
            expert = whole(index, position)
            if expert >= experts or expert < -1:
                put_whole(faulty, 0, 1)
            elif expert >= 0:
                w1, b1 = in_weight + 4 * expert * inner * width, in_bias + 4 * expert * inner
                w2, b2 = out_weight + 4 * expert * inner * outer, out_bias + 4 * expert * outer
                one, own, its = (x + 4 * width * i,), (hidden,), (said,)
                through_rooms(one, own, its, w1, b1, w2, b2, width, inner, outer, EIGHT, 0)
                weight = spread(number(weights, position))
                for at in range(0, outer, LANES):
                    left = outer - at
                    term = multiply(weight, load_some(said, at, left))
                    store_some(there, at, add(load_some(there, at, left), term), left)


@kernel
def combine(p):
    """index, parts (inputs, choices, width), out (inputs, width), inputs, choices, width."""
    pieces, index, parts, out = argument(p, 1), argument(p, 2), argument(p, 3), argument(p, 4)
    inputs, choices, width = argument(p, 5), argument(p, 6), argument(p, 7)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        for i in range(piece * COMBINED, min((piece + 1) * COMBINED, inputs)):
            for at in range(0, width, LANES):
                answer = zeros()
                for choice in range(choices):
                    if whole(index, i * choices + choice) >= 0:
                        answer = add(answer, load_some(parts, (i * choices + choice) * width + at, width - at))
                store_some(out, i * width + at, answer, width - at)
