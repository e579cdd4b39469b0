"""Hooks that stay with the model they were made for: a copy of the model, or a file of it, is free of them.

`copy.deepcopy` copies the hooks of a model as references to the same functions: what the copy says would be heard, and
changed, by somebody who looks at the original, perhaps in another thread. A `Staying` hook becomes a `Left` one in a
copy: it does nothing, and takes itself out at the first call, or when `swept` is called.
"""

from collections.abc import Callable
from typing import Any

from torch import nn


class Staying:
    """A hook, forward or before it, that acts on its own model only."""

    def __init__(self, act: Callable[..., Any]):
        self.act = act

    def __call__(self, *call: Any) -> Any:
        return self.act(*call)

    def __reduce__(self) -> tuple:
        return Left, ()


class Left:
    """What is left of a `Staying` hook in a copy of its model."""

    def __call__(self, module: nn.Module, *_call: Any) -> None:
        _taken(module, self)


def swept(model: nn.Module) -> nn.Module:
    """The same model without the left-over hooks of the one that it was copied from."""
    for module in model.modules():
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            if isinstance(hook, Left):
                _taken(module, hook)
    return model


def _taken(module: nn.Module, hook: Left) -> None:
    extras = (
        module._forward_hooks_with_kwargs,
        module._forward_hooks_always_called,
        module._forward_pre_hooks_with_kwargs,
    )
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for number in [number for number, held in hooks.items() if held is hook]:
            del hooks[number]
            for extra in extras:
                extra.pop(number, None)
