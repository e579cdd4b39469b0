"""What the small modules of a model are, told from their structure and class names: projections, nonlinearities, norms.

No package but torch is imported: a linear layer is known by its `in_features`, transformers' `Conv1D` by its weight.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from torch import nn

LINEAR = re.compile(r"linear|dense|conv1d$", re.IGNORECASE)
NONLINEAR = re.compile(
    r"(relu|relu6|prelu|rrelu|gelu|silu|swish|mish|elu|celu|selu|tanh|sigmoid|softplus|softsign|hardtanh|hardswish|"
    r"hardsigmoid|hardshrink|softshrink|tanhshrink|threshold|glu|activation|reluSquared|sine|gelutanh)\d*$",
    re.IGNORECASE,
)
NORM = re.compile(r"norm", re.IGNORECASE)
EMBEDDING = re.compile(r"embedding|positional|wpe|wte", re.IGNORECASE)
POSITIONS = re.compile(r"pos|token|embed|mask|scale|gamma|bias", re.IGNORECASE)
WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


class Projection(NamedTuple):
    """A linear map of the last axis, or a convolution over `places` axes; `spatial` if it looks beyond one place."""

    into: int
    out: int
    places: int = 0
    spatial: bool = False


class Child(NamedTuple):
    """A module held by another: its own name there, its full name, and what it is."""

    short: str
    name: str
    module: nn.Module
    projection: Projection | None

    @property
    def nonlinear(self) -> bool:
        return nonlinear(self.module)


def projection(module: nn.Module) -> Projection | None:
    """How wide this module's input and output are, if it is a linear map or a convolution; None otherwise."""
    match _family(type(module)):
        case "convolution":
            assert isinstance(module, nn.modules.conv._ConvNd)
            spatial = any(size > 1 for size in module.kernel_size)
            return Projection(module.in_channels, module.out_channels, len(module.kernel_size), spatial)
        case "linear":
            into, out = getattr(module, "in_features", None), getattr(module, "out_features", None)
            if isinstance(into, int) and isinstance(out, int):
                return Projection(into, out)
            weight = module._parameters.get("weight")
            if type(module).__name__ == "Conv1D" and weight is not None and weight.ndim == 2:
                return Projection(weight.shape[0], weight.shape[1])
    return None


@cache
def _family(kind: type) -> str:
    """What the names of a class and its ancestors promise: convolution, linear, nonlinear, norm, embedding or other."""
    if issubclass(kind, nn.modules.conv._ConvNd):
        return "convolution"
    if any(LINEAR.search(one.__name__) for one in kind.__mro__):
        return "linear"
    if NONLINEAR.search(kind.__name__) and "softmax" not in kind.__name__.lower():
        return "nonlinear"
    if NORM.search(kind.__name__):
        return "norm"
    return "embedding" if EMBEDDING.search(kind.__name__) else "other"


def nonlinear(module: nn.Module) -> bool:
    """Whether this is an activation function as a module."""
    if _family(type(module)) not in ("nonlinear", "linear"):
        return False
    named_so = NONLINEAR.search(type(module).__name__) and projection(module) is None
    simple = all(part is None or part.ndim < 2 for part in module._parameters.values())
    return bool(named_so) and simple and all(nonlinear(child) for child in module.children())


def norm(module: nn.Module) -> bool:
    """Whether this module normalises: layer, batch, group, root-mean-square norms."""
    return _family(type(module)) == "norm"


def transparent(module: nn.Module) -> bool:
    """Whether units stay the same units through this module: norm, dropout, pooling, flattening, nonlinearity."""
    return nonlinear(module) or norm(module) or not any(True for _ in module.parameters())


def children(module: nn.Module, name: str) -> list[Child]:
    """What a module holds, in the order in which it was given, also where one module stands in several places."""
    found = []
    for short, child in module._modules.items():
        if child is not None:
            bare = unwrapped(child)
            found.append(Child(short, f"{name}.{short}" if name else short, bare, projection(bare)))
    return found


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile's, DistributedDataParallel's, and checkpointing's wrappers."""
    while len(module._modules) == 1:
        (key, inner), *_ = module._modules.items()
        parallel = key == "module" and type(module).__name__ in ("DistributedDataParallel", "DataParallel")
        if inner is None or not (parallel or key in WRAPPED):
            break
        module = inner
    return module


def named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As `named_modules()`, each module once, without the wrappers and without what they add to the names."""
    seen: set[nn.Module] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        module = unwrapped(module)
        if module in seen:
            continue
        seen.add(module)
        yield name, module
        below = [
            (f"{name}.{short}" if name else short, child)
            for short, child in module._modules.items()
            if child is not None
        ]
        waiting += reversed(below)


def places_of(module: nn.Module) -> int:
    """How many axes follow the channels in what a norm is given: 2 for BatchNorm2d, 0 for a layer norm."""
    for kind in type(module).__mro__:
        found = re.search(r"(?:Batch|Instance|Sync)\w*?(\d)d", kind.__name__)
        if found:
            return int(found[1]) if found[1] != "1" else 0
    return 0


def plain(module: nn.Module) -> str | None:
    """Of which plain kind a module's own parameters are; None where it computes with them in a way of its own."""
    family = _family(type(module))
    if family in ("embedding", "norm"):
        return family
    if projection(module):
        return "projection"
    own = {key: part for key, part in module._parameters.items() if part is not None}
    if all(part.ndim <= 1 or part.squeeze().ndim <= 1 for part in own.values()):
        return "vector"
    return "embedding" if all(POSITIONS.search(key) for key in own) else None
