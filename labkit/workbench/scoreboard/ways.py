"""What the cases share: a computation as a contestant, the same in plain torch, and whether twins answer alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import kernels

FORWARD, BOTH = "forward", "forward and backward"
Way = Callable[..., Any]


def timed(way: Way, learns: Sequence[Tensor], direction: str) -> Way:
    """Computes forward, or also the gradients of `learns` and of every number that it is given.

    What is given is one tensor, or a tuple of them that become its arguments.
    """

    def forward(given: Tensor | tuple[Tensor, ...]) -> object:
        with torch.no_grad():
            return way(*given) if isinstance(given, tuple) else way(given)

    def both(given: Tensor | tuple[Tensor, ...]) -> object:
        for one in learns:
            one.grad = None
        several = given if isinstance(given, tuple) else (given,)
        out = way(*(one.detach().requires_grad_() if one.is_floating_point() else one for one in several))
        out.backward(out.detach())
        return out

    return forward if direction == FORWARD else both


def plainly(way: Way) -> Way:
    """The same in the plain torch that compiled code must equal."""

    def reference(*given: Any) -> Any:
        with kernels("reference"):
            return way(*given)

    return reference


def require_alike(ways: Mapping[str, Way], *given: Any, tolerance: float = 1e-5, astray: float = 0.0) -> None:
    """All must give what the first gives, relative to its largest number; a part of the rows may go astray.

    A row goes astray where a decision falls at a score next to zero. Raises: AssertionError.
    """
    (_, first), *others = ways.items()
    with torch.no_grad():
        known = first(*given)
        for name, way in others:
            errors = (way(*given) - known).abs().flatten(0, -2).amax(-1) / known.abs().max()
            if not (errors <= tolerance).float().mean() >= 1 - astray:
                raise AssertionError(f"{name} gives another answer with the same weights, by {errors.max():.1e}.")
