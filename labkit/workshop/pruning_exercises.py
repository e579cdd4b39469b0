"""What the exercises on pruning hold an answer against: fair chances to stay, and a mask for one kind of recurrent weights."""

from typing import Any

import torch
from torch import Tensor

from labkit.workshop.exercise import Test


def fair(weight: Tensor, places: int) -> tuple[Test, ...]:
    """Tests of chances that should be in proportion to size, 1 at most, and add up to `places`."""
    size = weight.detach().double().abs()
    wanted = _shared(size, places)

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor of chances."
        if answer.shape != weight.shape:
            return f"the answer has shape {tuple(answer.shape)}; the weight has shape {tuple(weight.shape)}."
        if answer.dtype == torch.bool:
            return "the answer holds True and False; a chance is a number from 0 to 1, and nothing is drawn yet."
        return None

    def right(answer: Tensor) -> str | None:
        found = answer.detach().double()
        if torch.allclose(found, wanted, atol=1e-5):
            return None
        if bool((found < 0).any()):
            return "a chance is negative: sizes count, weight.abs()."
        plain = places * size / size.sum()
        if torch.allclose(found, plain, atol=1e-5):
            over = int((plain > 1).sum())
            return f"{over} chances are above 1. Set them to 1, and share out what is left among the others."
        if torch.allclose(found, plain.clamp(max=1), atol=1e-5):
            short = places - float(plain.clamp(max=1).sum())
            return (
                f"no chance is above 1 now, but they add up to {short:.1f} too little: share that out among the others."
            )
        if bool((found > 1 + 1e-6).any()):
            return (
                f"{int((found > 1 + 1e-6).sum())} chances are above 1: sharing out has pushed new ones over; repeat it."
            )
        total = float(found.sum())
        if abs(total - places) > 1e-3:
            return f"the chances add up to {total:.2f}, and should to {places}."
        return "they add up, and none is above 1; but those below 1 are not in proportion to the size of their weights."

    return form, right


def _shared(size: Tensor, places: int) -> Tensor:
    sure = torch.zeros_like(size, dtype=torch.bool)
    while True:
        share = (places - sure.sum()) * size / size[~sure].sum()
        over = ~sure & (share >= 1)
        if not bool(over.any()):
            return torch.where(sure, 1.0, share)
        sure |= over


def one_threshold(weights: dict[str, Tensor], share: float) -> tuple[Test, ...]:
    """Tests of masks, one a weight, that leave out the smallest `share` of all weights together."""
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    gone = round(share * len(sizes))

    def form(answer: Any) -> str | None:
        if not isinstance(answer, dict):
            return f"the answer is a {type(answer).__name__}; it should be a dictionary of masks."
        if set(answer) != set(weights):
            return f"the answer has masks for {', '.join(map(str, answer)) or 'nothing'}; the weights are {', '.join(weights)}."
        for name, mask in answer.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                return f"the mask of {name!r} does not hold True and False (compare with >)."
            if mask.shape != weights[name].shape:
                return (
                    f"the mask of {name!r} has shape {tuple(mask.shape)}; the weight has {tuple(weights[name].shape)}."
                )
        return None

    def right(answer: dict[str, Tensor]) -> str | None:
        flat = torch.cat([answer[name].flatten() for name in weights])
        lost = len(flat) - int(flat.sum())
        each = {name: float((~mask).float().mean()) for name, mask in answer.items()}
        if abs(lost - gone) > 1:
            if abs(int(flat.sum()) - gone) <= 1:
                return f"{share:.0%} stay; so many should go."
            return f"{lost} of {len(flat)} weights go; it should be {gone}."
        if sizes[flat].min() >= sizes[~flat].max():
            return None
        if sizes[flat].max() <= sizes[~flat].min():
            return "the largest weights go; the smallest should."
        if all(abs(one - share) < 0.01 for one in each.values()):
            return "each matrix loses the same share: the threshold is one for all of them together, not one for each."
        values = torch.cat([weight.flatten() for weight in weights.values()])
        if values[flat].min() >= values[~flat].max():
            return "large negative weights go; compare sizes, weight.abs()."
        return "some weights go that are larger than others that stay."

    return form, right
