"""What the exercises on stopping early and on thresholds of one's own hold an answer against."""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.binary import moment
from labkit.workshop.exercise import Test


def careful(values: Tensor, wanted: Tensor, allowed: float) -> tuple[Test, ...]:
    """Tests of a threshold that should stop as many others as it can, and at most a share `allowed` of the wanted.

    What lies below the threshold is stopped. Shapes: values (rows,) of a gate, wanted (rows,) of 0 and 1.
    """
    ours = values[wanted == 1].sort().values
    best = ours[min(int(allowed * len(ours) + 1e-9), len(ours) - 1)]
    others = values[wanted == 0]

    def form(answer: Any) -> str | None:
        if isinstance(answer, Tensor) and answer.numel() == 1:
            answer = answer.item()
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            return f"the answer is a {type(answer).__name__}; it should be one number, the threshold."
        if not 0 <= answer <= 1:
            return f"the answer is {answer:g}; a gate's value lies between 0 and 1, and so does its threshold."
        return None

    def right(answer: Any) -> str | None:
        threshold = float(answer)
        lost, stopped = int((ours < threshold).sum()), int((others < threshold).sum())
        most = int((others < best).sum())
        if lost > int(allowed * len(ours) + 1e-9):
            said = f"it stops {lost} of {len(ours)} wanted pictures; at most {allowed:.0%} of them may be lost."
            everything = torch.quantile(values, allowed).item()
            if abs(threshold - torch.quantile(ours, 1 - allowed).item()) < 1e-3:
                return (
                    said + " You took the largest values; the wanted pictures with the smallest are the ones at risk."
                )
            if abs(threshold - torch.quantile(others, 1 - allowed).item()) < 1e-3:
                return (
                    said + " You looked at the others; which of them are stopped is what follows, not what is allowed."
                )
            return said + (" You took the share of all pictures." if abs(threshold - everything) < 1e-3 else "")
        if abs(threshold - torch.quantile(values, allowed).item()) < 1e-3 and stopped < most:
            return "the share is of the wanted pictures; you took it of all pictures, and stop far too few."
        if stopped < most:
            return f"nothing too much is lost, but it stops {stopped} of the others and could stop {most}: go higher."
        return None

    return form, right


def own_bits(x: Tensor, follow: Tensor, shift: Tensor) -> tuple[Test, ...]:
    """Tests of bits that should be 1 or -1 by a threshold that follows the mean of cubes of each input's own channel.

    Shapes: x (rows, channels, h, w), follow and shift (channels,).
    """

    def bits(said: Tensor) -> Tensor:
        return torch.where(x >= (follow[:, None, None] * said + shift[:, None, None]), 1.0, -1.0)

    wanted = bits(moment(x, 3)[..., None, None])
    wrong = {
        "you took the statistic over the whole batch: each input has its own.": x.pow(3).mean((0, 2, 3))[:, None, None],
        "you took the cube of the mean; wanted is the mean of the cubes.": moment(x, 1)[..., None, None] ** 3,
        "you took the mean; wanted is the mean of the cubes.": moment(x, 1)[..., None, None],
        "you took the mean over all channels: each channel has its own threshold.": x.pow(3).mean((1, 2, 3))[
            :, None, None, None
        ],
        "the threshold does not follow the input: use `follow` times the mean of cubes.": torch.zeros(1, 1, 1, 1),
    }

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor."
        if answer.shape != x.shape:
            return f"the answer has shape {tuple(answer.shape)}; the bits have the shape of x, {tuple(x.shape)}."
        if answer.dtype == torch.bool or (answer == 0).any():
            return "a bit is 1 or -1 here; the answer holds True and False, or zeros."
        if not torch.isin(answer, torch.tensor([1.0, -1.0])).all():
            return "a bit is 1 or -1; the answer holds other numbers."
        return None

    def right(answer: Tensor) -> str | None:
        if torch.equal(answer.to(wanted), wanted):
            return None
        if torch.equal(answer.to(wanted), -wanted):
            return "all bits are the wrong way round: 1 where x is at or above its threshold."
        for says, said in wrong.items():
            if torch.equal(answer.to(wanted), bits(said)):
                return says
        return f"{(answer != wanted).float().mean():.0%} of the bits are wrong."

    return form, right
