"""What the exercises on trees hold an answer against: the leaf that each input reaches, and a gap that is closed well."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from labkit.parts.gate import Routing
from labkit.workshop.exercise import Test

GAP, LEAVES = 0.025, 6
"""The hardening gap that must be kept, as a fraction, and in how many leaves."""


class Outcome(NamedTuple):
    """What a trained tree does on test data: accuracy soft and hard (fractions), and how many leaves are in use."""

    soft: float
    hard: float
    leaves: float


def same_leaf(reached: Routing) -> tuple[Test, ...]:
    """Tests of an answer that says for each input which leaf it reaches, against a recording of a hard tree."""
    wanted, leaves = reached.index[..., 0], reached.choices

    def one_each(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor with one leaf for each input."
        if answer.shape != wanted.shape:
            return f"the answer has shape {tuple(answer.shape)}; one leaf for each input is {tuple(wanted.shape)}."
        if answer.dtype.is_floating_point or answer.dtype == torch.bool:
            return f"leaves are counted with whole numbers, and the answer holds {answer.dtype}; .long() converts."
        return None

    def numbered(answer: Tensor) -> str | None:
        low, high = int(answer.min()), int(answer.max())
        if low >= 0 and high < leaves:
            return None
        nodes = " These look like places among the nodes and leaves together: the first leaf is number 0."
        return f"leaves are numbered 0 to {leaves - 1}, and the answer goes from {low} to {high}." + nodes * (
            high == 2 * leaves - 2 or low >= leaves - 1
        )

    def same(answer: Tensor) -> str | None:
        wrong = answer != wanted
        if not wrong.any():
            return None
        if (answer == leaves - 1 - wanted).all():
            return "the tree is mirrored: a score of 0 or more goes right, and leaves are counted from the left."
        first = int(wrong.nonzero()[0])
        return (
            f"{int(wrong.sum()):,} of {len(wanted):,} inputs are in another leaf. Input {first} reaches leaf "
            f"{int(wanted[first])}, and the answer says {int(answer[first])}: follow its scores by hand from the root."
        )

    return one_each, numbered, same


def closed_gap(without: Outcome) -> tuple[Test, ...]:
    """Tests of what a hardened tree does, against what the same tree does that was trained without penalties."""

    def small(answer: Outcome) -> str | None:
        gap = answer.soft - answer.hard
        if gap < GAP:
            return None
        return (
            f"the gap is {100 * gap:.1f} points (soft {answer.soft:.1%}, hard {answer.hard:.1%}) and should be below "
            f"{100 * GAP:g}. The decisions are not sure enough."
        )

    def alive(answer: Outcome) -> str | None:
        if answer.leaves >= LEAVES:
            return None
        return (
            f"the gap is closed, but only {answer.leaves:g} of the leaves are in use and there should be {LEAVES}. Where "
            "nearly all images take the same way, soft and hard are the same by default: nothing is left of the tree."
        )

    def better(answer: Outcome) -> str | None:
        if answer.hard > without.hard:
            return None
        return (
            f"the gap is closed and the leaves are in use, but hard the tree is right on {answer.hard:.1%} of the images "
            f"only, and without penalties it was {without.hard:.1%}: they drown what is to be learnt."
        )

    return small, alive, better
