"""The gradients of a compiled bank of experts, from the plan and the hidden units that its forward kept."""

import numpy as np

from labkit.parts.kernels.cpu.expert_sizes import BLOCK, CHUNK, HEAD, STRIP
from labkit.parts.kernels.cpu.expert_tiles import (
    LINES,
    PANEL,
    by_matrix,
    by_transpose,
    fetch,
    grouped,
    outer_products,
    where_active,
)
from labkit.parts.kernels.cpu.kernel import kernel
from labkit.parts.kernels.cpu.lanes import (
    LANES,
    add,
    argument,
    fma,
    load,
    load_some,
    multiply,
    number,
    put_number,
    spread,
    store,
    store_some,
    ticket,
    total,
    whole,
    zeros,
)


@kernel
def backward_rows(p):
    """Gradients of the hidden units before the activation, of the weights of the routing, and of the inputs."""
    slot, pieces = -1, argument(p, 1)
    plan, order, choices = argument(p, 2), argument(p, 3), argument(p, 4)
    gradient, in_weight, out_weight, out_bias = argument(p, 5), argument(p, 6), argument(p, 7), argument(p, 8)
    weights, hidden, slopes, weight_slopes = argument(p, 9), argument(p, 10), argument(p, 11), argument(p, 12)
    scratch, x_slopes = argument(p, 13), argument(p, 14)
    width, inner, padded, outer = argument(p, 15), argument(p, 16), argument(p, 17), argument(p, 18)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        if slot < 0:
            slot = ticket(plan + 24)
        block = plan + 8 * HEAD + 24 * piece
        expert, start, count = whole(block, 0), whole(block, 1), whole(block, 2)
        ours, theirs = slopes + 4 * padded * start, hidden + 4 * padded * start
        groups = scratch + 4 * slot * argument(p, 19)
        panel = groups + 4 * argument(p, 20)
        said = panel + 4 * argument(p, 21)
        rows = said + 4 * BLOCK * width
        matrix = out_weight + 4 * expert * inner * outer
        fetch(gradient, order, start, count, choices, outer, rows)
        grouped(rows, outer, count, outer, groups)
        for line in range(0, inner, PANEL):
            by_transpose(groups, rows, outer, count, matrix, inner, outer, panel, line, ours, padded)
        for i in range(count):
            position = whole(order, start + i)
            weight, answer = spread(number(weights, position)), zeros()
            above = gradient + 4 * outer * (position // choices)
            for at in range(0, outer, LANES):
                bias = load_some(out_bias + 4 * expert * outer, at, outer - at)
                answer = fma(bias, load_some(above, at, outer - at), answer)
            for at in range(0, inner, LANES):
                unit = load_some(theirs, i * padded + at, inner - at)
                slope = load_some(ours, i * padded + at, inner - at)
                answer = fma(unit, slope, answer)
                store(ours, i * padded + at, where_active(unit, multiply(weight, slope)))
            put_number(weight_slopes, position, total(answer))
        if x_slopes:
            grouped(ours, padded, count, inner, groups)
            matrix = in_weight + 4 * expert * inner * width
            by_matrix(groups, ours, padded, count, matrix, inner, width, panel, said)
            for i in range(count):
                there = x_slopes + 4 * width * whole(order, start + i)
                for at in range(0, width, LANES):
                    store_some(there, at, load_some(said, i * width + at, width - at), width - at)


@kernel
def backward_weights(p):
    """Gradients of one layer's weights (experts, inner, width) and biases: a piece is a strip of one expert's columns.

    slopes[i, j] = Σ_rows units[row, i] rows[row, j]. In the second layer the rows are gradients, `weighted` by the
    routing, and the bias belongs to the columns; in the first they are inputs, and the bias belongs to the units.
    """
    slot, pieces = -1, argument(p, 1)
    plan, starts, order, choices = argument(p, 2), argument(p, 3), argument(p, 4), argument(p, 5)
    rows, units, weights, weighted = argument(p, 6), argument(p, 7), argument(p, 8), argument(p, 9)
    slopes, bias_slopes, scratch = argument(p, 10), argument(p, 11), argument(p, 12)
    width, inner, padded, strips = argument(p, 13), argument(p, 14), argument(p, 15), argument(p, 16)
    while True:
        piece = ticket(p)
        if piece >= pieces:
            break
        if slot < 0:
            slot = ticket(plan + 24)
        expert, column = piece // strips, piece % strips * STRIP
        first, last, columns = whole(starts, expert), whole(starts, expert + 1), min(STRIP, width - column)
        group = scratch + 4 * slot * CHUNK * (STRIP + LINES)
        packed = group + 4 * CHUNK * LINES
        start = first
        while True:
            count, onto = min(CHUNK, last - start), 1 if start > first else 0
            above, ours = units + 4 * padded * start, slopes + 4 * (expert * inner * width + column)
            for at in range(0, columns, LANES):
                panel = packed + 4 * (CHUNK * (at // PANEL * PANEL) + at % PANEL)
                for i in range(count):
                    position = whole(order, start + i)
                    weight = number(weights, position) if weighted else np.float32(1)
                    here = rows + 4 * (width * (position // choices) + column)
                    store(panel, i * PANEL, multiply(spread(weight), load_some(here, at, columns - at)))
            for line in range(0, inner, LINES):
                left = inner - line
                for i in range(count):
                    for at in range(0, LINES, LANES):
                        store(group, i * LINES + at, load_some(above, i * padded + line + at, left - at))
                for at in range(0, columns, PANEL):
                    panel, there = packed + 4 * CHUNK * at, ours + 4 * (line * width + at)
                    outer_products(group, min(LINES, left), panel, count, there, width, columns - at, onto)
            if weighted:
                there = bias_slopes + 4 * (expert * width + column)
                for at in range(0, columns, LANES):
                    panel = packed + 4 * (CHUNK * (at // PANEL * PANEL) + at % PANEL)
                    answer = load_some(there, at, columns - at) if onto else zeros()
                    for i in range(count):
                        answer = add(answer, load(panel, i * PANEL))
                    store_some(there, at, answer, columns - at)
            elif column == 0:
                there = bias_slopes + 4 * expert * inner
                for at in range(0, inner, LANES):
                    answer = load_some(there, at, inner - at) if onto else zeros()
                    for i in range(count):
                        answer = add(answer, load(above, i * padded + at))
                    store_some(there, at, answer, inner - at)
            start += CHUNK
            if start >= last:
                break
