"""What the exercises on lazy neurons hold an answer against: top-k by hand, and the expected calibration error."""

import math
from typing import Any

import torch
from torch import Tensor

from labkit.workshop.exercise import Test


def strongest_kept(hidden: Tensor, chosen: int) -> tuple[Test, ...]:
    """Tests of an answer that should be `hidden` (rows, units) with all but the `chosen` largest of each row at 0."""
    wanted = _top(hidden, chosen, -1)

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor like `hidden`."
        if answer.shape != hidden.shape:
            return f"the answer has shape {tuple(answer.shape)} and `hidden` {tuple(hidden.shape)}: units at 0 keep their place."
        if answer.dtype == torch.bool:
            return "the answer is a mask of True and False; multiply `hidden` by it."
        return None

    def right(answer: Tensor) -> str | None:
        if torch.allclose(answer, wanted):
            return None
        if torch.allclose(answer, _top(hidden, chosen, 0)):
            return "these are the strongest rows of each unit; take the strongest units of each row: dim=-1."
        if torch.allclose(answer, hidden - wanted):
            return "you silenced the strongest units and kept the rest."
        if torch.allclose(answer, (wanted != 0).to(answer)):
            return "the right units stay, but with 1 in place of what they say."
        most = int((answer != 0).sum(-1).max())
        if most != chosen:
            return f"a row keeps up to {most} units that are not 0; it should be {chosen}."
        return "as many units stay as should, but not the largest ones, or they do not say what they said."

    return form, right


def calibration(confidence: Tensor, right: Tensor, bins: int) -> tuple[Test, ...]:
    """Tests of an answer that should be the expected calibration error of inputs (rows,) in bins of equal width."""
    place = (confidence.double() * bins).long().clamp(0, bins - 1)
    gaps, signed, shares = [], [], []
    for at in range(bins):
        inside = place == at
        if bool(inside.any()):
            gap = (right[inside].double().mean() - confidence[inside].double().mean()).item()
            gaps, signed = [*gaps, abs(gap)], [*signed, gap]
            shares.append(inside.double().mean().item())
    wanted = sum(share * gap for share, gap in zip(shares, gaps, strict=True))
    known = {
        sum(
            share * gap for share, gap in zip(shares, signed, strict=True)
        ): "gaps above and below cancel in your sum: take the modulus of each bin's gap before you add.",
        sum(gaps) / len(gaps): "every bin counts alike in your answer; weigh each by its share of the inputs.",
        sum(gaps): "you added the gaps up; weigh each by its bin's share of the inputs.",
        sum(gaps) / bins: "every bin counts alike in your answer; weigh each by its share of the inputs.",
        (confidence.double() - right.double())
        .abs()
        .mean()
        .item(): "you compare input by input; a single answer is right or wrong, "
        "and only a bin of them can be right as often as it says.",
        1 - right.double().mean().item(): "that is the error rate; it says nothing of how sure the network was.",
    }

    def form(answer: Any) -> str | None:
        number = answer.item() if isinstance(answer, Tensor) and answer.numel() == 1 else answer
        if isinstance(number, bool) or not isinstance(number, int | float):
            return f"the answer is a {type(answer).__name__}; it should be one number."
        if math.isnan(number):
            return "the answer is not a number: an empty bin has no mean, and should count for nothing."
        return None

    def same(answer: Any) -> str | None:
        number = float(answer)
        if abs(number - wanted) < 1e-4:
            return None
        for other, says in known.items():
            if abs(number - other) < 1e-4:
                return says
        if abs(number - 100 * wanted) < 1e-2:
            return "the answer is in percent; give a fraction."
        return f"the answer is {number:.4f}, and it should be {wanted:.4f}. Do the bins divide 0 to 1 into {bins} equal parts?"

    return form, same


def _top(hidden: Tensor, chosen: int, dim: int) -> Tensor:
    index = hidden.topk(min(chosen, hidden.shape[dim]), dim=dim).indices
    return torch.zeros_like(hidden).scatter(dim, index, hidden.gather(dim, index))
