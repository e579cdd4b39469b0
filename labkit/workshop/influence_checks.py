"""Checks of who may influence whom: no token sees the future, no row of a batch sees another.

Both are tried, not read off: one place of the input is changed, and it is looked at which places of the answer change.
"""

from typing import Any

import torch
from torch import Tensor, nn

from labkit.workshop.exercise import Test
from labkit.workshop.shown_numbers import tensor_in

MOST = 12
"""How many places are changed one by one; of a longer axis the first ones."""
TOLERANCE = 1e-5
NORMALISES = (nn.modules.batchnorm._BatchNorm,)


def no_future_leak(on: Tensor, axis: int = 1, *, sees_past: bool = True) -> Test:
    """What a later place of `axis` holds does not change the answer for an earlier one; with `sees_past`, the reverse does.

    Shapes: on: a batch of sequences, the tokens along `axis` in the input as in the answer.
    """

    def test(layer: Any) -> str | None:
        moved = influence(layer, on, axis)
        if isinstance(moved, str):
            return moved
        places = len(moved)
        later = torch.ones(places, places).triu(1).bool()
        ahead, back = moved & later, moved & later.T
        if bool(ahead.any()):
            return _leak(moved, ahead, back)
        if sees_past and not bool(back.any()):
            return (
                "nothing leaks, but nothing of the past arrives either: each place answers to itself alone. A mask that "
                "forbids all other places does that, or an attention over the wrong axis."
            )
        return None

    return test


def _leak(moved: Tensor, ahead: Tensor, back: Tensor) -> str:
    places = len(moved)
    if not bool(back.any()):
        return (
            "the mask is turned round: each place sees the future and not the past. triu and tril, or True for “may see” "
            "and True for “hidden”, are easily mixed up."
        )
    by = [int(row.nonzero().max() - at) for at, row in enumerate(ahead) if bool(row.any())]
    if max(by) == 1 and places > 2:
        return "each place sees one place ahead: the mask is shifted by one (diagonal=0 and diagonal=1 are the usual mix-up)."
    if bool(moved.all()):
        return (
            "every place sees every other one: there is no mask, or something (a mean, a norm, a softmax) is taken over the "
            "whole sequence."
        )
    at, seen = (int(place) for place in ahead.nonzero()[0])
    return f"the answer at place {at} changes when only place {seen} of the input changes: it sees the future."


def rows_do_not_mix(on: Tensor) -> Test:
    """What one row of the batch holds does not change the answer for another, in training and in evaluation."""

    def test(layer: Any) -> str | None:
        for training in (True, False) if isinstance(layer, nn.Module) else (None,):
            moved = influence(layer, on, 0, training)
            if isinstance(moved, str):
                return moved
            others = moved & ~torch.eye(len(moved), dtype=torch.bool)
            if bool(others.any()):
                return _mixing(layer, on, others, training)
        return None

    return test


def _mixing(layer: Any, on: Tensor, others: Tensor, training: bool | None) -> str:
    at, seen = (int(place) for place in others.nonzero()[0])
    when = {True: " in training", False: " in evaluation", None: ""}[training]
    said = f"{when.strip()} the answer for row {at} changes when only row {seen} changes: ".lstrip()
    if isinstance(layer, nn.Module) and any(isinstance(one, NORMALISES) for one in layer.modules()):
        return said + "BatchNorm takes its mean over the batch in training. LayerNorm takes it over each row."
    out = tensor_in(layer(on))
    if out is not None and torch.allclose(out.sum(0), torch.ones_like(out.sum(0)), atol=1e-4):
        return (
            said + "the answers sum to 1 down the batch, so a softmax is taken over dim=0; over each row it is dim=-1."
        )
    return said + "a mean, a norm, a softmax or a sort is taken over the axis of the rows (dim=0 instead of dim=-1)."


def influence(layer: Any, on: Tensor, axis: int, training: bool | None = False) -> Tensor | str:
    """Which place of the answer changes with which place of the input, (places, places), or what stands in the way.

    Shapes: row: a place of the answer, column: the place of the input that was changed.
    """
    if isinstance(layer, nn.Module) and training is not None:
        layer.train(training)
    places = min(on.shape[axis], MOST)
    whole = on.narrow(axis, 0, places) if axis else on[:places]
    try:
        one = _answer(layer, whole)
    except Exception:
        if places == on.shape[axis]:
            raise
        whole, places = on, on.shape[axis]  # a layer for one length only
        one = _answer(layer, whole)
    if one is None:
        return "it does not return a tensor."
    if one.ndim <= axis or one.shape[axis] != places:
        return f"{places} places went in along axis {axis}, and the answer has shape {tuple(one.shape)}: it should keep them."
    if bool(one.isnan().any()):
        at = one.isnan().movedim(axis, 0).flatten(1).any(1)
        return (
            f"the answer at place {int(at.nonzero()[0])} is NaN: where everything is hidden from a place, its softmax has "
            "nothing to sum to 1. A place may always see itself."
        )
    if not torch.equal(one, _answer(layer, whole)):  # type: ignore[arg-type]
        return "twice the same input gives two answers: chance in it (a dropout?) hides what the check looks for."
    return torch.stack([_changed(layer, whole, one, axis, at) for at in range(places)], 1)


def _changed(layer: Any, whole: Tensor, one: Tensor, axis: int, at: int) -> Tensor:
    other = whole.clone()
    place = other.select(axis, at)
    drawn = torch.Generator().manual_seed(at)
    if other.is_floating_point():
        place += 3 * torch.randn(place.shape, generator=drawn).to(place)
    else:
        most = int(whole.max()) + 1
        place.copy_((place + 1) % max(2, most))
    out = _answer(layer, other)
    assert out is not None
    gap = (out - one).double().abs().movedim(axis, 0).flatten(1).amax(1)
    return gap > TOLERANCE * max(1.0, float(one.abs().max()))


def _answer(layer: Any, x: Tensor) -> Tensor | None:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        out = tensor_in(layer(x))
    return None if out is None else out.detach().clone()
