"""A compiled computation as torch knows it: one operation for autograd, autocast and `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.errors import KernelError


class Operation:
    """A compiled computation that torch knows: seen by autograd, autocast and `torch.compile` as one operation.

    `compute` takes and returns tensors, `shapes` returns empty ones of the same shapes, `backward(ctx, *gradients)` and
    `keep(ctx, inputs, output)` are as in `torch.library.register_autograd`. The registered operation costs some tens of
    microseconds a call, so it is used while a graph is captured only: else `compute` is called directly, or through an
    autograd function where gradients are wanted. Where the gradient is itself to be differentiated (`create_graph=True`)
    it is that of `plain`, which its `FastPath` sets; an operation without one raises `KernelError` then.
    """

    plain: Callable[..., Any] | None = None

    def __init__(
        self,
        name: str,
        compute: Callable[..., Any],
        shapes: Callable[..., Any],
        backward: Callable[..., Any] | None = None,
        keep: Callable[..., None] | None = None,
    ):
        self.compute, self.learns = compute, backward is not None
        self.known = torch.library.custom_op(f"labkit::{name}", compute, mutates_args=(), device_types="cpu")
        self.known.register_fake(shapes)
        self.known.register_autocast("cpu", torch.float32)
        if backward and keep:
            self.known.register_autograd(backward, setup_context=keep)
            self.eager = _function(self, name, backward, keep)

    def __call__(self, *given: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.known(*given)
        if self.learns and torch.is_grad_enabled() and _wanted(given):
            return self.eager.apply(*given)
        return self.compute(*given)


def _wanted(given: tuple[Any, ...]) -> bool:
    return any(isinstance(one, Tensor) and one.requires_grad for one in given)


def _function(of: Operation, name: str, backward: Callable, keep: Callable) -> type[torch.autograd.Function]:
    """The same as an autograd function."""

    def forward(ctx: Any, *given: Any) -> Any:
        output = of.compute(*given)
        ctx.given = given
        keep(ctx, given, output)
        return output

    def back(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled() and of.plain:
            return _differentiable(of.plain, ctx.given, gradients)
        with torch.no_grad():
            found = backward(ctx, *gradients)
        if not torch.is_grad_enabled():
            return found
        several, given = isinstance(found, tuple), [one for one in ctx.given if isinstance(one, Tensor)]
        whole = tuple(
            _Last.apply(name, one, *given, *gradients) if isinstance(one, Tensor) else one
            for one in (found if several else (found,))
        )
        return whole if several else whole[0]

    return type(name, (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(back)})


def _differentiable(plain: Callable, given: tuple[Any, ...], gradients: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """The gradients of plain torch at the same inputs, with the graph that leads to them."""
    learning = [place for place, one in enumerate(given) if isinstance(one, Tensor) and one.requires_grad]
    output = plain(*given)
    outputs = output if isinstance(output, tuple) else (output,)
    pairs = [(one, gradient) for one, gradient in zip(outputs, gradients, strict=True) if one.requires_grad]
    found = torch.autograd.grad(
        [one for one, _ in pairs],
        [given[place] for place in learning],
        [gradient for _, gradient in pairs],
        create_graph=True,
        allow_unused=True,
    )
    known = dict(zip(learning, found, strict=True))
    return tuple(known.get(place) for place in range(len(given)))


class _Last(torch.autograd.Function):
    """A first derivative of which there is no second; it depends on all that it was computed from."""

    @staticmethod
    def forward(ctx: Any, name: str, gradient: Tensor, *given: Tensor) -> Tensor:
        ctx.name = name
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise KernelError(
            f"the compiled path of {ctx.name} has no second derivatives: compute under labkit.kernels('reference')."
        )
