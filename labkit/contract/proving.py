"""What every property of a contract needs: inputs that fit, a run with a fixed seed, and sentences for failures.

A layer that states its shapes in the annotation of `forward` is given inputs that fit them. Anyone else's layer comes
with an `Example` that makes its inputs; the first axis of each is then taken for the batch and the last for the width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from labkit.example import Example
from labkit.parts.shapes import arguments, size

Property = Callable[[nn.Module, tuple, Example], str | None]
"""Raises with a sentence where the layer lacks the property; returns why, where it says nothing about the layer."""

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
"""How far two answers that should be equal may be apart, by the coarsest type that the layer computes in."""


def random_inputs(layer: nn.Module, seed: int, batch: tuple[int, ...] = (4,)) -> tuple[Tensor, ...]:
    """Random tensors that fit the annotation of the layer's forward, in the type of its weights."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next((p.dtype for p in layer.parameters() if p.is_floating_point()), torch.float32)
    free: dict[str, int] = {}
    made = []
    for argument in arguments(type(layer).forward):
        own = [size(dim, layer) or free.setdefault(dim, 3 + len(free)) for dim in argument.trailing]
        shape = (*(batch if argument.leading else ()), *own)
        made.append(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
    return tuple(made)


def prove_on(prove: Property, example: Example) -> str | None:
    """Run one property on a fresh instance with fixed seeds; why it says nothing about the layer, where it does not."""
    torch.manual_seed(0)
    layer = example.make()
    inputs = example.inputs(0) if example.inputs else random_inputs(layer, 0)
    if not inputs:
        kind = type(layer).__name__
        raise ValueError(f"{kind}.forward states no shapes: give Example(make, inputs=...) or annotate its arguments.")
    return prove(layer, inputs, example)


class AtItsBest(NamedTuple):
    """A layer and its inputs in the finest type that it computes in, and how exact it can be expected to be."""

    layer: nn.Module
    inputs: tuple
    tolerance: float


def at_its_best(layer: nn.Module, inputs: tuple, example: Example) -> AtItsBest:
    """The layer in float64 where it can; what computes partly in float32 is judged by the precision of float32."""
    wide = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    try:
        probe, seen = example.make().double(), _Coarsest()
        with seen, torch.no_grad():
            for training in (True, False):
                run(probe, wide, training)
    except Exception:  # it cannot compute in float64; the property about types says so
        return AtItsBest(layer, inputs, TOLERANCES[torch.float32])
    return AtItsBest(layer.double(), wide, TOLERANCES[torch.float32 if seen.coarse else torch.float64])


class _Coarsest(TorchDispatchMode):
    """Sees whether anything is computed in less than float64. A mask of zeros and ones loses nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor) and one.is_floating_point() and one.dtype != torch.float64:
                self.coarse |= not bool(((one == 0) | (one == 1)).all())
        return out


def say(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def every(*attempts: tuple[str, Callable[[], None]]) -> None:
    """Try all, then fail with a sentence that names each that failed: the first fault does not hide the others."""
    found: dict[str, list[str]] = {}
    for name, attempt in attempts:
        try:
            attempt()
        except Exception as error:  # anyone's layer: whatever it raises is the finding
            found.setdefault(sentence(error, 130), []).append(name)
    say(not found, "; ".join(f"{', '.join(names)}: {said}" for said, names in found.items()))


def sentence(error: BaseException, most: int = 400) -> str:
    """What went wrong, in one line: the first of the error's own, with its kind where the contract did not say it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    if not isinstance(error, AssertionError) or not said:
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    return said if len(said) <= most else said[: most - 1] + "…"


def same(left: Tensor, right: Tensor, sentence: str, tolerance: float = TOLERANCES[torch.float64]) -> None:
    say(left.shape == right.shape, f"{sentence}: shapes {tuple(left.shape)} and {tuple(right.shape)}")
    if left.numel():
        gap = (left.double() - right.double()).abs().max().item()
        scale = max(1.0, right.double().abs().max().item())
        say(gap <= tolerance * scale, f"{sentence}: they differ by {gap:.2g}")


def run(layer: nn.Module, inputs: tuple, training: bool) -> Tensor:
    torch.manual_seed(1)
    return tensor_of(layer.train(training)(*inputs))


def tensor_of(out: Any) -> Tensor:
    """What a layer returned, where it is one tensor as it should be."""
    if isinstance(out, Tensor):
        return out
    names = getattr(out, "_fields", ())
    inside = f" ({', '.join(names)})" if names else f" of {len(out)}" if isinstance(out, tuple | list) else ""
    raise AssertionError(f"forward returns a {type(out).__name__}{inside} and not one tensor")


def mode(training: bool) -> str:
    return "training" if training else "evaluation"
