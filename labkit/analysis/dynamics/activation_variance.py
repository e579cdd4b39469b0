"""How large what each layer hears and says is: the variance before and after every layer with weights.

    variance = mean of v² - (mean of v)²      over all inputs, places and units v of what enters or leaves the layer

In a network as it was drawn these numbers tell whether the signal keeps its size on its way: where the variance after a
layer is half of that before it, ten such layers leave a thousandth, and the gradients on their way back shrink likewise.

A layer is a module without modules of its own, called with one tensor of real numbers and returning one, whose weights
have two axes or more: dense layers and convolutions, and layers with learnt curves. Normalisations and activations are
none.

Source: variances through the depth of a network at its start are how Glorot and Bengio, "Understanding the difficulty of
training deep feedforward neural networks" (2010), derive their weights; "Kolmogorov-Arnold Transformer" (P485) derives
those of layers with learnt curves so.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.recording.batches import answer, evaluating
from labkit.recording.record import NothingRecorded

SIDES = ("before", "after")


def activation_variance(model: nn.Module, batch: Any) -> xr.DataArray:
    """The variance of what enters and of what leaves each layer, in evaluation: (layer, side), in the order of use.

    A layer that runs several times counts with all its calls together.
    Raises: NothingRecorded when the model has no layer with weights, or none was run.
    """
    sums: dict[str, np.ndarray] = {}
    layers = {name: module for name, module in model.named_modules() if weighted(module)}
    handles = [module.register_forward_hook(_adding(sums, name)) for name, module in layers.items()]
    try:
        with evaluating(model):
            answer(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if not sums:
        raise NothingRecorded(
            "No layer was heard: none of the model's modules without modules of their own has weights of two axes, or "
            "none of them was called with one tensor of real numbers."
        )
    count, total, squares = np.stack(list(sums.values()), -1)
    return xr.DataArray(
        (squares / count - (total / count) ** 2).T,
        dims=("layer", "side"),
        coords={"layer": list(sums), "side": list(SIDES)},
        name="activation_variance",
        attrs={"long_name": "variance of what enters and leaves a layer", "units": ""},
    )


def weighted(module: nn.Module) -> bool:
    """Whether a module is a layer of its own: with weights of two axes or more, and nothing inside."""
    return not list(module.children()) and any(weight.dim() > 1 for weight in module.parameters(recurse=False))


def _adding(sums: dict[str, np.ndarray], name: str) -> Callable[..., None]:
    """A hook that adds how many numbers entered and left, their sum and that of their squares: (3, side)."""

    def hear(_module: nn.Module, given: tuple, said: Any) -> None:
        both = (*given, said)
        if len(both) == 2 and all(isinstance(one, Tensor) and one.is_floating_point() for one in both):
            values = [one.double() for one in both]
            found = [[one.numel(), one.sum().item(), one.square().sum().item()] for one in values]
            sums[name] = sums.get(name, 0) + np.array(found).T

    return hear


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
