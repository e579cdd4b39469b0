"""What the exercise on keeping inputs holds an answer against: the mask of the inputs that WINA would read."""

from typing import Any

import torch
from torch import Tensor

from labkit.parts.threshold import strongest
from labkit.workshop.exercise import Test


def kept_inputs(x: Tensor, weight: Tensor, count: int) -> tuple[Test, ...]:
    """Tests of an answer that should name, for each row, the `count` inputs of the largest |x_i| · ‖W_:i‖.

    Shapes: x (rows, inputs), weight (outputs, inputs). The mistakes can be told apart where the layer is square.
    """
    columns, rows = weight.norm(dim=0), weight.norm(dim=1)
    wanted = strongest(x, count, columns)

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor of True and False."
        if answer.shape != x.shape:
            said = " Those look like the numbers of the inputs: scatter them into a mask." * (
                answer.shape == (len(x), count)
            )
            return f"the answer has shape {tuple(answer.shape)}; the inputs have shape {tuple(x.shape)}.{said}"
        if answer.dtype != torch.bool:
            return f"the answer holds {str(answer.dtype).removeprefix('torch.')}; a mask holds True and False."
        return None

    def right(answer: Tensor) -> str | None:
        if torch.equal(answer, wanted):
            return None
        if torch.equal(answer, strongest(x, count)):
            return (
                "these are the largest inputs; the weights were not asked: multiply by the length of each one's column."
            )
        if len(rows) == len(columns) and torch.equal(answer, strongest(x, count, rows)):
            return "you took the lengths of the rows of W; input i is multiplied by column i, weight[:, i]."
        if torch.equal(answer, _largest(x * columns, count)):
            return "you kept the largest numbers; large negative inputs matter as much: compare x.abs()."
        if torch.equal(answer, _largest(-x.abs() * columns, count)):
            return "you kept the inputs that matter least and dropped the others."
        if torch.equal(answer, strongest(x, count, columns.square())):
            return "you squared the lengths but not the inputs: |x| times the length, not times its square."
        if torch.equal(answer, _largest((x.abs() * columns).flatten(), count * len(x)).view_as(answer)):
            return "you chose over all rows together, so that some rows keep more than others; choose within each row."
        counts = answer.sum(-1)
        if not bool((counts == count).all()):
            return (
                f"each row should keep {count} inputs, and the answer keeps {int(counts.min())} to {int(counts.max())}."
            )
        wrong = int((answer & ~wanted).sum())
        return f"{wrong} of the {int(wanted.sum())} kept inputs are others than those with the largest |x| times column length."

    return form, right


def _largest(score: Tensor, count: int) -> Tensor:
    return torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(count, dim=-1).indices, True)
