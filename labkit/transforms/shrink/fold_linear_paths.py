"""Makes a trained model smaller without changing what it says: every layer that knows how to fold itself is replaced.

Where nothing but linear maps lies between two places of a trained network, they are one map:

    y = W₂ (W₁ x)  =  (W₂ W₁) x,      y = x + W x  =  (I + W) x,      a batch norm in evaluation is diag(s) x + t

Symbols: W weights, I the identity of a residual connection, s and t scale and shift of a batch norm.

Which of a layer's paths are linear only the layer knows, so it says so: a module with a method `folded()`, without
arguments, is replaced by the module that this returns. Everything else is copied.

Source: "RePaViT: Scalable Vision Transformer Acceleration via Structural Reparameterization on Feedforward Network
Layers" (P121). Folding parallel linear paths after training was made known by X. Ding et al., "RepVGG: Making VGG-style
ConvNets Great Again" (2021).
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.folding import ChannelNorm, identity, linear, of_linear, of_norm

equal = True
"""The result says what the model says in evaluation, up to rounding."""
idempotent = True
"""What is folded has nothing left to fold."""


def fold_linear_paths(model: nn.Module) -> nn.Module:
    """A copy of the model with every layer that has a `folded()` in its folded form, in evaluation mode.

    The copy shares no memory with the model. A layer that stands in several places stays one layer. Hooks are copied with
    the layers that stay; those of a layer that folds go with it. A model without such layers is only copied.
    """
    result = copy.deepcopy(model).eval()
    done: dict[nn.Module, nn.Module] = {}

    def fold(module: nn.Module) -> nn.Module:
        if module not in done:
            knows: Any = getattr(module, "folded", None)
            done[module] = knows().eval() if callable(knows) else module
            if done[module] is module:
                for name, child in module._modules.items():
                    if child is not None:
                        module._modules[name] = fold(child)
        return done[module]

    return fold(result)


class _Detour(nn.Module):
    """The smallest layer that folds: x + W₂ W₁ norm(x), which is one matrix and a bias."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = ChannelNorm(width)
        self.into, self.out = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.into(self.norm(x)))

    def folded(self) -> nn.Linear:
        path = of_linear(self.out).after(of_linear(self.into)).after(of_norm(self.norm))
        return linear(path.beside(identity(self.norm.num_features, self.into.weight)), self.into.weight)


def _small() -> nn.Module:
    """A model that has seen data, so that its norms have something to fold."""
    model = nn.Sequential(nn.Linear(5, 6), _Detour(6, 9), nn.GELU(), nn.Linear(6, 3))
    with torch.no_grad():
        for _ in range(5):
            model(3 * torch.randn(20, 5) + 1)
    return model.eval()


example = Example(_small, inputs=lambda seed: (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)),))
