"""What the exercise on factored weights holds an answer against: the size of a product that is never written out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from labkit.workshop.exercise import Test


class Attempt(NamedTuple):
    """What a learner's function said, and how many operations its matrix products took."""

    value: Any
    operations: int


def attempt(function: Callable[[Tensor, Tensor], Any], down: Tensor, up: Tensor) -> Attempt | None:
    """Call the function and count; None where it still says `...` or nothing."""
    with FlopCounterMode(display=False) as counter:
        value = function(down, up)
    return None if value is None or value is ... else Attempt(value, counter.get_total_flops())


def cheap_size(down: Tensor, up: Tensor) -> tuple[Test, ...]:
    """Tests of an attempt at the squared Frobenius norm of `down @ up`: the number, and that it was had cheaply."""
    wanted = float((down.double() @ up.double()).square().sum())
    look_alikes = {
        wanted**0.5: "this is the norm itself, and the penalty is its square.",
        float(down.square().sum() + up.square().sum()): (
            "these are the squared norms of both factors added up. That is ordinary weight decay, which is another number: "
            "the factors may be large while their product is small."
        ),
        float(down.square().sum() * up.square().sum()): (
            "these are the squared norms of the factors, or the traces of their Gram matrices, multiplied. That is never too "
            "small, but the directions of the factors count as well: take the trace of the product, not two traces."
        ),
        float(((down.mT @ down) @ (up @ up.mT)).sum()): (
            "all entries of the matrix product were added up, and its trace is the sum of the diagonal alone."
        ),
    }

    def number(found: Attempt) -> str | None:
        value = found.value
        if isinstance(value, Tensor) and value.numel() == 1:
            return None
        if isinstance(value, float | int):
            return None
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        return f"the answer should be one number, and it is {shape}."

    def right(found: Attempt) -> str | None:
        value = float(found.value)
        if abs(value - wanted) <= 1e-3 * wanted:
            return None
        for other, says in look_alikes.items():
            if abs(value - other) <= 1e-3 * abs(other):
                return says
        return f"the squared norm of the product is {wanted:.5g}, and the answer says {value:.5g}."

    def cheap(found: Attempt) -> str | None:
        (wide, rank), out = down.shape, up.shape[1]
        whole = 2 * wide * rank * out
        if found.operations < whole:
            return None
        return (
            f"the number is right, but it took {found.operations:,} operations in matrix products, and the product of both "
            f"factors alone takes {whole:,}: keep to matrices of {rank} x {rank}."
        )

    return number, right, cheap


def factors(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two factors of a weight of 64 x 256 with rank 4, (64, 4) and (4, 256)."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(64, 4, generator=draws) / 8, torch.randn(4, 256, generator=draws)
