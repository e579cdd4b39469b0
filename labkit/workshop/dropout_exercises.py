"""What the exercises on dropout hold an answer against: the mean of all thinned networks, and the cap on weights."""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.max_norm import capped
from labkit.workshop.exercise import Test


def geometric(probabilities: Tensor) -> tuple[Test, ...]:
    """Tests of an answer that should be the normalised geometric mean of (networks, rows, classes) over the networks."""
    plain = probabilities.log().mean(0).exp()
    wanted = plain / plain.sum(-1, keepdim=True)

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor (rows, classes)."
        if answer.shape != wanted.shape:
            shape, right = tuple(answer.shape), tuple(wanted.shape)
            return f"the answer has shape {shape}; a row for each input and a column for each class is {right}."
        return None

    def same(answer: Tensor) -> str | None:
        if torch.allclose(answer, wanted, atol=1e-5):
            return None
        if torch.allclose(answer, probabilities.mean(0), atol=1e-5):
            return "that is the arithmetic mean; the geometric one multiplies: take the mean of the logarithms."
        if torch.allclose(answer, plain, atol=1e-5):
            return "the geometric mean is right, but its classes no longer add up to 1: divide each row by its sum."
        if torch.allclose(answer, wanted.log(), atol=1e-4):
            return "these are the logarithms; exp() of them is the answer."
        if torch.allclose(answer, probabilities.prod(0) / probabilities.prod(0).sum(-1, keepdim=True), atol=1e-5):
            return (
                "you multiplied all networks without taking the root: that is a product, and much too sure of itself."
            )
        if not torch.allclose(answer.sum(-1), torch.ones_like(answer.sum(-1)), atol=1e-4):
            return f"the classes of the first row add up to {answer[0].sum().item():.3f}; probabilities add up to 1."
        return "the classes add up to 1, but this is not the geometric mean: exp of the mean of the logarithms, then normalise."

    return form, same


def cap_held(weight: Tensor, cap: float) -> tuple[Test, ...]:
    """Tests of an answer that should be `weight` (units, inputs) with no row longer than `cap`."""
    wanted = capped(weight, cap)

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor) or answer.shape != weight.shape:
            return f"the answer should be a tensor of shape {tuple(weight.shape)}, like the weight."
        return None

    def same(answer: Tensor) -> str | None:
        if torch.allclose(answer, wanted, atol=1e-5):
            return None
        short = weight.norm(dim=1) < cap
        if torch.allclose(answer.norm(dim=1), torch.full((len(answer),), cap).to(answer), atol=1e-4):
            return "now all rows are as long as the cap; those that were shorter should stay as they are."
        if torch.allclose(answer, capped(weight.T, cap).T, atol=1e-5):
            return "you capped the columns, which go out of an input; what comes into a unit is a row."
        if torch.allclose(answer, weight.clamp(-cap, cap)):
            return "you capped every single weight; the cap is on the length of a row."
        if bool(short.any()) and not torch.allclose(answer[short], weight[short]):
            return "a row that is shorter than the cap has changed; it should stay as it is."
        longest = answer.norm(dim=1).max().item()
        if longest > cap * 1.001:
            return f"the longest row has length {longest:.3f}, and the cap is {cap:g}."
        return "no row is too long, but long ones should be scaled as a whole, to the length of the cap."

    return form, same
