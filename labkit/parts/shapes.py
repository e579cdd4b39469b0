"""Shapes are stated once, in the annotation of `forward`: this reads them for errors, test inputs and docs.

A dimension is written as jaxtyping writes it: `{self.width}` is the layer's own size, `3` a number, `tokens` any
size (the same wherever the name stands again), `*batch` any number of leading axes.
"""

import functools
import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from labkit.errors import LabError


class ShapeError(LabError, ValueError):
    """An input does not have the shape or type that the layer's annotation states."""


class Argument(NamedTuple):
    """One tensor argument of a forward, as its annotation states it."""

    name: str
    dimensions: tuple[str, ...]
    floating: bool

    @property
    def leading(self) -> bool:
        """Whether any number of leading axes is allowed (`*batch`)."""
        return bool(self.dimensions) and self.dimensions[0].startswith("*")

    @property
    def trailing(self) -> tuple[str, ...]:
        return self.dimensions[1:] if self.leading else self.dimensions


def arguments(forward: Callable[..., Any]) -> tuple[Argument, ...]:
    """The tensor arguments of a forward in order; what has no shape annotation is left out."""
    found = []
    for name, annotation in forward.__annotations__.items():
        text = getattr(annotation, "dim_str", None)
        if text is not None and name != "return":
            kinds = getattr(annotation, "dtypes", ())
            found.append(Argument(name, tuple(text.split()), any("float" in str(kind) for kind in kinds)))
    return tuple(found)


def returned(forward: Callable[..., Any]) -> tuple[str, ...] | None:
    """The dimensions of what a forward returns, or None where it does not say."""
    text = getattr(forward.__annotations__.get("return"), "dim_str", None)
    return None if text is None else tuple(text.split())


def size(dimension: str, module: nn.Module) -> int | None:
    """The number that a dimension stands for in this module; None where it is free."""
    own = re.fullmatch(r"\{self\.([\w.]+)\}", dimension)
    if own:
        return functools.reduce(getattr, own[1].split("."), module)  # type: ignore[return-value]
    return int(dimension) if dimension.isdigit() else None


def shaped(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Check a layer's inputs against the annotation of its `forward`.

    Raises `ShapeError` with a sentence that names the layer, the argument and both shapes. Costs about a
    microsecond a call and stays out of the way of `torch.compile`, `torch.export` and `torch.func`.
    """
    stated = arguments(forward)
    judges = [_judge(argument) for argument in stated]

    @functools.wraps(forward)
    def checked(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():
            for argument, value in zip(stated, inputs, strict=False):
                _require(self, argument, value)
            return forward(self, *inputs, **named)
        for place, value in enumerate(inputs[: len(judges)]):
            if not judges[place](self, value):
                _require(self, stated[place], value)
        try:
            return forward(self, *inputs, **named)
        except RuntimeError as error:
            if "dtype" in str(error) and inputs and isinstance(inputs[0], torch.Tensor):
                raise ShapeError(_types(self, stated, inputs, error)) from error
            raise

    return checked


def _judge(argument: Argument) -> Callable[[nn.Module, Any], bool]:
    """Says of a tensor whether it is as stated: asked at every call, so it only says yes or no."""
    fixed, floating = len(argument.dimensions) - argument.leading, argument.floating
    own, numbers = [], []
    for place, dimension in enumerate(argument.trailing, -fixed):
        named = re.fullmatch(r"\{self\.([\w.]+)\}", dimension)
        if named:
            own.append((place, operator.attrgetter(named[1])))
        elif dimension.isdigit():
            numbers.append((place, int(dimension)))

    def fits(module: nn.Module, value: Any) -> bool:
        shape = value.shape
        if len(shape) != fixed and (len(shape) < fixed or not argument.leading):
            return False
        for place, size_in in own:
            if shape[place] != size_in(module):
                return False
        for place, number in numbers:
            if shape[place] != number:
                return False
        return not floating or value.is_floating_point()

    return fits


def _require(module: nn.Module, argument: Argument, value: Any) -> None:
    trailing = argument.trailing
    fits = value.ndim >= len(trailing) if argument.leading else value.ndim == len(trailing)
    if fits:
        for place, dimension in enumerate(trailing):
            expected = size(dimension, module)
            if expected is not None and value.shape[place - len(trailing)] != expected:
                fits = False
    if not fits:
        wanted = ", ".join(_spell(dimension, module) for dimension in argument.dimensions)
        raise ShapeError(
            f"{type(module).__name__} takes {argument.name} of shape ({wanted}), but got {tuple(value.shape)}."
        )
    if argument.floating and not value.is_floating_point():
        raise ShapeError(
            f"{type(module).__name__} takes {argument.name} as real numbers, but got {value.dtype}: "
            f"convert it with {argument.name}.float()."
        )


def _spell(dimension: str, module: nn.Module) -> str:
    own = size(dimension, module)
    if own is None:
        return dimension
    name = re.fullmatch(r"\{self\.([\w.]+)\}", dimension)
    return f"{name[1]}={own}" if name else str(own)


def _types(module: nn.Module, stated: tuple[Argument, ...], inputs: tuple, error: RuntimeError) -> str:
    kinds = sorted({str(parameter.dtype) for parameter in module.parameters()})
    got = ", ".join(f"{argument.name} is {value.dtype}" for argument, value in zip(stated, inputs, strict=False))
    return (
        f"{type(module).__name__} holds {' and '.join(kinds)} weights, but {got}: "
        f"move one to the other's type with .to(dtype) ({str(error).splitlines()[0]})."
    )


def traced() -> bool:
    """Whether a compiler or a `torch.func` transform looks on, so that values may not steer control flow."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None  # pyright: ignore
