"""Properties of the answer for one row whatever stands around it: other rows, leading axes, later tokens, bad numbers."""

import math

import torch
from torch import Tensor

from labkit.contract.proving import at_its_best, every, mode, random_inputs, run, same, say
from labkit.parts.shapes import arguments, size


def any_leading_dimensions_also_an_empty_batch(layer, inputs, example):
    stated = arguments(type(layer).forward)
    if not all(argument.leading for argument in stated):
        return "its forward states a fixed number of axes"
    layer, given, tolerance = at_its_best(layer, inputs, example)
    flat = random_inputs(layer, 0, (6,)) if stated else given
    expected = {training: run(layer, flat, training) for training in (True, False)}

    def folded():
        for training in (True, False):
            out = run(layer, tuple(x.unflatten(0, (2, len(x) // 2)) for x in flat), training)
            same(out.flatten(0, 1), expected[training], f"another answer than with one in {mode(training)}", tolerance)

    def single():
        out = run(layer, tuple(x[0] for x in flat), False)
        same(out, expected[False][0], "another answer than in a batch", tolerance)

    def empty():
        for training in (True, False):
            out = run(layer, tuple(x[:0] for x in flat), training)
            say(out.shape == (0, *expected[training].shape[1:]), f"its answer has shape {tuple(out.shape)}")

    every(("two leading axes", folded), ("no leading axis", single), ("an empty batch", empty))
    return None


def rows_do_not_mix(layer, inputs, example):
    """What one row says does not change the answer for another, and rows that are alike do not crowd each other out."""
    layer, inputs, tolerance = at_its_best(layer, inputs, example)

    def disturb(training):
        whole = run(layer, inputs, training)
        for place, kept, word in ((-1, slice(None, -1), "last"), (0, slice(1, None), "first")):
            out = run(layer, tuple(_far(x, place) for x in inputs), training)
            same(out[kept], whole[kept], f"changing the {word} row changes the others", tolerance)

    def crowd():
        whole = run(layer, inputs, False)
        torch.manual_seed(2)
        if not torch.equal(layer(*inputs), whole):
            return  # its evaluation is left to chance, and so is how alike rows fare; that it is pure is asked elsewhere
        out = run(layer, tuple(torch.cat((x[-1:].expand_as(x), x[-1:])) for x in inputs), False)
        same(out, whole[-1:].expand_as(out), "among copies of itself a row has another answer", tolerance)

    every((mode(True), lambda: disturb(True)), (mode(False), lambda: disturb(False)), (mode(False), crowd))


def the_past_does_not_see_the_future(layer, inputs, example):
    """In a sequence, what later tokens say does not change the answer for earlier ones."""
    axis = _token_axis(layer, inputs)
    if axis is None:
        return "each row stands alone: it takes no sequences"
    layer, inputs, tolerance = at_its_best(layer, inputs, example)
    past = inputs[0].shape[axis] // 2

    def disturb(training):
        whole = run(layer, inputs, training).narrow(axis, 0, past)
        for copied in (None, *range(past)):
            changed = tuple(_later(x, axis, past, copied) for x in inputs)
            out = run(layer, changed, training).narrow(axis, 0, past)
            same(out, whole, "changing later tokens changes earlier ones", tolerance)

    every((mode(True), lambda: disturb(True)), (mode(False), lambda: disturb(False)))
    return None


def what_is_not_a_number_stays_in_its_row(layer, inputs, example):
    """NaN and infinity neither spread to other rows nor turn into numbers that look sound."""
    if not inputs[0].is_floating_point():
        return "its input is not made of real numbers"
    for training in (True, False):
        whole = run(layer, inputs, training)
        for bad in (math.nan, math.inf):
            changed = (torch.cat((inputs[0][:-1], torch.full_like(inputs[0][-1:], bad))), *inputs[1:])
            out = run(layer, changed, training)
            say(bool(torch.isfinite(out[:-1]).all()), f"{bad} in one row spreads to others in {mode(training)}")
            same(out[:-1], whole[:-1], f"{bad} in one row changes others in {mode(training)}", 1e-5)
            if math.isnan(bad):
                say(not bool(torch.isfinite(out[-1]).all()), f"a row of nan gets a finite answer in {mode(training)}")
    return None


def _far(x: Tensor, place: int) -> Tensor:
    other = x.clone()
    other[place] = 100 if x.is_floating_point() else 0
    return other


def _later(x: Tensor, axis: int, past: int, copied: int | None) -> Tensor:
    """The input with other later tokens: far off where `copied` is None, else copies of one of the past."""
    before, after = x.narrow(axis, 0, past), x.narrow(axis, past, x.shape[axis] - past)
    far = torch.zeros_like(after) + (100 if x.is_floating_point() else 0)
    return torch.cat((before, far if copied is None else x.narrow(axis, copied, 1).expand_as(after)), axis)


def _token_axis(layer, inputs) -> int | None:
    """Where the tokens of a sequence stand: the free axis before the last, in a layer without shapes the middle of three."""
    stated = arguments(type(layer).forward)
    if not stated:
        return 1 if all(x.ndim == 3 for x in inputs) else None
    for argument in stated:
        if len(argument.trailing) != 2 or size(argument.trailing[0], layer) is not None:
            return None
    return int(stated[0].leading)
