"""How large each update of a residual network is beside what it is added to.

    share = mean over tokens of  |update| / |x|,      where a block computes  x + update

A share far below 1 means that a part of a block only nudges what is there. Two updates of small share can be computed side by
side, since the second would hardly notice the first.

Only additions made by a module of their own can be seen, one that is called with two tensors of one shape and returns their
sum; a plain `x + f(x)` calls no module.

Source: "Investigating the Role of Feed-Forward Networks in Transformers Using Parallel Attention and Feed-Forward Net
Design" (P204), which compares the norm of attention's update with that of its input.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.batches import inputs_of
from labkit.recording.record import NothingRecorded


def residual_share(model: nn.Module, batch: Any) -> xr.DataArray:
    """The mean norm of each update over the norm of what it is added to, in evaluation: (layer), in the order of use.

    Raises: NothingRecorded when no module of the model adds two tensors of one shape.
    """
    shares: dict[str, list[float]] = {}

    def hook(name: str):
        def hear(_module: nn.Module, inputs: tuple, output: Any) -> None:
            if _adds(inputs, output):
                share = inputs[1].float().norm(dim=-1) / inputs[0].float().norm(dim=-1)
                shares.setdefault(name, []).append(float(share[share.isfinite()].mean()))

        return hear

    modes = [(module, module.training) for module in model.modules()]
    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    model.eval()
    try:
        with torch.no_grad():
            _call(model, inputs_of(batch))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    if not shares:
        raise NothingRecorded("No module of this model adds two tensors of one shape, so that no update can be seen.")
    return xr.DataArray(
        np.array([np.mean(values) for values in shares.values()], dtype=np.float32),
        dims="layer",
        coords={"layer": list(shares)},
        name="residual_share",
        attrs={"long_name": "norm of the update over the norm of its input", "units": ""},
    )


def _call(model: nn.Module, x: Any) -> None:
    if isinstance(x, Mapping):
        model(**x)
    else:
        model(*(x if isinstance(x, tuple) else (x,)))


def _adds(inputs: tuple, output: Any) -> bool:
    if len(inputs) != 2 or not all(isinstance(one, Tensor) and one.is_floating_point() for one in (*inputs, output)):
        return False
    same = inputs[0].shape == inputs[1].shape == output.shape and output.dim() > 0
    return same and bool(torch.equal(inputs[0] + inputs[1], output))


class _Adding(nn.Module):
    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return x + update


class _Residual(nn.Module):
    """Two updates, for the tests."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.add_first, self.add_second = _Adding(), _Adding()

    def forward(self, x: Tensor) -> Tensor:
        x = self.add_first(x, self.first(x))
        return self.add_second(x, self.second(x))


example = Example(_Residual, inputs=lambda seed: (torch.randn(5, 4), torch.arange(5) % 2))
