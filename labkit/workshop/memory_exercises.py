"""What the exercise on product keys holds an answer against: the best slots of a memory, found from the scores of half keys."""

from typing import Any

import torch
from torch import Tensor

from labkit.workshop.exercise import Test


def best_slots(first: Tensor, second: Tensor, chosen: int) -> tuple[Test, ...]:
    """Tests of an answer that says which `chosen` slots score best, best first; slot n i + j has half keys i and j.

    Shapes: first, second (rows, n), scores of the half keys; the answer (rows, chosen), whole numbers.
    """
    rows, keys = first.shape
    sums = (first.unsqueeze(-1) + second.unsqueeze(-2)).flatten(-2)
    wanted = sums.topk(chosen, -1)

    def slots(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor of slot numbers."
        if tuple(answer.shape) != (rows, chosen):
            return f"the answer has shape {tuple(answer.shape)}; {chosen} slots for each query are ({rows}, {chosen})."
        if answer.dtype.is_floating_point or answer.dtype == torch.bool:
            return f"slots are counted with whole numbers, and the answer holds {answer.dtype}; .long() converts."
        return None

    def numbered(answer: Tensor) -> str | None:
        low, high = int(answer.min()), int(answer.max())
        if low < 0 or high >= keys**2:
            return f"slots are numbered 0 to {keys**2 - 1}, and the answer goes from {low} to {high}."
        if chosen > 1 and bool((answer.sort(-1).values.diff(dim=-1) == 0).any()):
            return "a slot stands twice among those of one query; each is chosen once."
        return None

    def best(answer: Tensor) -> str | None:
        found = sums.gather(1, answer)
        if torch.allclose(found, wanted.values):
            return None
        if torch.allclose(found.sort(-1, descending=True).values, wanted.values):
            return "these are the right slots, but not in order: the one with the highest score comes first."
        swapped = sums.gather(1, answer % keys * keys + answer // keys)
        if torch.allclose(swapped, wanted.values):
            return f"the halves are swapped: the slot of half keys i and j is number {keys} i + j, with i from the first half."
        paired = first.topk(chosen).indices * keys + second.topk(chosen).indices
        if torch.equal(answer.sort(-1).values, paired.sort(-1).values):
            return (
                "each best half is paired with one other only. The second best slot may well be the best first half with the "
                "second best second half: look at all pairs of the best halves."
            )
        if bool((answer // chosen < chosen).all()) and bool((answer < chosen**2).all()) and chosen < keys:
            return (
                f"all numbers are below {chosen**2}: these are places among the pairs of best halves. Look up which half keys "
                "stand in those places."
            )
        row = int((~torch.isclose(found, wanted.values)).any(-1).nonzero()[0])
        return (
            f"query {row} has the slots {answer[row].tolist()}, with scores down to {found[row].min():.2f}; there are others "
            f"with scores of {wanted.values[row].min():.2f} and more."
        )

    return slots, numbered, best
