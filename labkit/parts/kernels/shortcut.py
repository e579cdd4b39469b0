"""The next call of a layer whose last one ran in compiled code: nothing is found out twice.

Asking every parameter for its type, place and layout, and every module inside for somebody who listens, takes longer than
a small batch takes to compute. What was found out is kept: the addresses of the parameters, and the objects on which it all
depends. It holds as long as they are the same objects in the same places.

    class Layer(nn.Module):
        def __init__(self, ...):
            self.shortcut = Shortcut()

        @shortcut
        @shaped
        def forward(self, x):
            ...                                            # everything is asked; the compiled path suits:
            self.shortcut.remember(self, run, weights, self.in_width, self.out_width)
"""

import functools
from collections.abc import Callable, Mapping
from operator import getitem, is_
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from labkit.parts.kernels.engine import hooks_everywhere, quiet

Run = Callable[[int, int, int], None]
"""(address of the inputs, how many, address of the outputs): computes."""
_address, _numbers, _FLOAT = Tensor.data_ptr, Tensor.numel, torch.float32


class _Kept(NamedTuple):
    """What holds the same as when everything was asked."""

    run: Run
    in_width: int
    out_width: int
    places: tuple[tuple[Mapping[str, Any], ...], tuple[str, ...], tuple[Any, ...]]
    """In these dictionaries under these names are these objects: modules inside, parameters, settings."""
    hooks: tuple[Mapping[int, Any], ...]
    parameters: tuple[Tensor, ...]
    addresses: tuple[int, ...]
    sizes: tuple[int, ...]


class Shortcut:
    """Calls `run` at once where nothing has changed since `remember`; else it is None, and everything is to be asked."""

    def __init__(self) -> None:
        self.kept: _Kept | None = None

    def __reduce__(self):
        return Shortcut, ()  # a copy has parameters of its own

    def remember(
        self, layer: nn.Module, run: Run, parameters: tuple[Tensor, ...], in_width: int, out_width: int, *settings: str
    ) -> None:
        """This way suits the layer as it is. `settings`: attributes on which that depends, such as "gate.training"."""
        inside = list(layer.modules())
        places: list[tuple[Mapping[str, Any], str, Any]] = []
        for module in inside:
            places += [(module._modules, name, child) for name, child in module._modules.items()]
            places += [
                (module._parameters, name, mine)
                for name, mine in module._parameters.items()
                if any(mine is one for one in parameters)
            ]
        for setting in settings:
            owner, _, name = setting.rpartition(".")
            known = layer.get_submodule(owner).__dict__
            places.append((known, name, known[name]))
        own = sum(any(value is one for one in parameters) for _, _, value in places)
        if own < len(parameters) or not all(one.is_contiguous() for one in parameters):
            return  # one of them is computed by a parametrisation, or has to be copied before each call
        hooks = tuple(hooks for module in inside[1:] for hooks in (module._forward_hooks, module._forward_pre_hooks))
        self.kept = _Kept(
            run,
            in_width,
            out_width,
            cast(Any, tuple(zip(*places, strict=True))),
            hooks,
            parameters,
            tuple(map(_address, parameters)),
            tuple(map(_numbers, parameters)),
        )

    def __call__(self, x: Tensor) -> Tensor | None:
        kept = self.kept
        if kept is None or type(x) is not Tensor or x.dtype is not _FLOAT or not quiet():
            return None
        shape = x.shape
        if not shape or shape[-1] != kept.in_width or not x.is_contiguous() or not x.is_cpu or x.is_neg():
            return None
        if any(kept.hooks) or hooks_everywhere():
            return None
        owners, names, values = kept.places
        try:
            if not all(map(is_, map(getitem, owners, names), values)):
                return None
        except KeyError:
            return None
        parameters = kept.parameters
        if tuple(map(_address, parameters)) != kept.addresses or tuple(map(_numbers, parameters)) != kept.sizes:
            return None
        out = torch.empty_like(x) if kept.out_width == kept.in_width else x.new_empty(*shape[:-1], kept.out_width)
        kept.run(x.data_ptr(), x.numel() // kept.in_width, out.data_ptr())
        return out


def shortcut(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a layer's `forward` try `self.shortcut` first."""

    @functools.wraps(forward)
    def shortened(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        if len(inputs) == 1 and not named and not torch.compiler.is_compiling():
            out = self.shortcut(inputs[0])  # pyright: ignore[reportCallIssue]
            if out is not None:
                return out
        return forward(self, *inputs, **named)

    return shortened


def parameters_of(module: nn.Module, *names: str) -> tuple[Tensor, ...]:
    """Parameters by name: from where modules keep them, which saves most of the time of asking the module."""
    kept = module._parameters
    try:
        return tuple([kept[name] for name in names])  # pyright: ignore[reportReturnType]
    except KeyError:  # a parametrisation computes it
        return tuple([getattr(module, name) for name in names])
