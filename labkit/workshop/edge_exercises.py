"""What the exercise on curves with chosen families holds an answer against: the same layer without a choice."""

from typing import Any

import torch
from torch import Tensor

from labkit.workshop.exercise import Test


def equal_curves(curves: Tensor, selection: Tensor) -> tuple[Test, ...]:
    """Tests of the weights with which a layer of equal α says what one with this `selection` says.

    Shapes: curves (in_width, families, terms, out_width), selection (out_width, families).
    """
    many = selection.shape[-1]
    shares = selection.T.unsqueeze(1)
    wanted = curves * shares * many

    def a_table(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor of the shape of curves."
        if answer.shape != curves.shape:
            return f"the answer has shape {tuple(answer.shape)}; the curves have {tuple(curves.shape)}."
        return None

    def same(answer: Tensor) -> str | None:
        def near(other: Tensor) -> bool:
            return torch.allclose(answer, other, rtol=1e-4, atol=1e-6)

        if near(wanted):
            return None
        if near(curves):
            return (
                "these are the curves as they were: the other layer weighs all families alike, so α must go into them."
            )
        if near(curves * shares):
            return f"every curve comes out {many} times too small: the other layer multiplies it by 1/{many} once more."
        if near(curves * shares / many):
            return f"the number of families is on the wrong side: the other layer has 1/{many} where this one has α."
        if near(curves / shares) or near(curves / shares / many):
            return "a family with a small α has become large: multiply by α, do not divide by it."
        if selection.shape[0] == many and near(curves * selection.unsqueeze(1) * many):
            return (
                "outputs and families have changed places: selection[j, k] belongs to output j and family k, and in "
                "curves the family is axis 1 and the output the last."
            )
        off = ~torch.isclose(answer, wanted, rtol=1e-4, atol=1e-6)
        i, k, t, j = off.nonzero()[0].tolist()
        return (
            f"{int(off.sum()):,} of {answer.numel():,} weights are wrong. The first is that of input {i}, family {k}, term "
            f"{t}, output {j}, whose α is {selection[j, k].item():.3f}."
        )

    return a_table, same
