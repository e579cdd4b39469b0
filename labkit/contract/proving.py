"""What every property of a contract needs: inputs that fit, a run with a fixed seed, and sentences for failures."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.shapes import arguments, size

Property = Callable[[nn.Module, tuple, Example], None]


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


def prove_on(prove: Property, example: Example) -> None:
    """Run one property on a fresh instance with fixed seeds."""
    torch.manual_seed(0)
    layer = example.make()
    inputs = example.inputs(0) if example.inputs else random_inputs(layer, 0)
    prove(layer, inputs, example)


def say(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def same(left: Tensor, right: Tensor, sentence: str, tolerance: float = 1e-9) -> None:
    say(left.shape == right.shape, f"{sentence}: shapes {tuple(left.shape)} and {tuple(right.shape)}")
    if left.numel():
        gap = (left.double() - right.double()).abs().max().item()
        scale = max(1.0, right.double().abs().max().item())
        say(gap <= tolerance * scale, f"{sentence}: they differ by {gap:.2g}")


def run(layer: nn.Module, inputs: tuple, training: bool) -> Tensor:
    torch.manual_seed(1)
    return layer.train(training)(*inputs)
