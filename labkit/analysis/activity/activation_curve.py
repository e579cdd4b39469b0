"""What each activation function of a network looks like, as it is now: its output over a range of inputs, unit by unit.

    curve_u(x) = f_u(x),   f_u the function of unit u, the other units set to the same x

An activation is a module that works value by value: those of torch, and any module with a class attribute
`elementwise = True`. The range holds 98 % of what really arrives there on the batch, over all units of the layer.

Source: learnt activations are drawn in this way in "Learning Activation Functions to Improve Deep Neural Networks"
(Agostinelli et al., 2015); the range is ours.
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.modules import activation

from labkit.example import Example
from labkit.recording.record import NothingRecorded

POINTS = 201
MIXING = ("MultiheadAttention", "Softmax", "Softmin", "LogSoftmax", "Softmax2d", "GLU")


def activation_curve(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """The curve of every unit of every activation layer, in evaluation.

    Shapes: batch (x, ...) -> (layer, unit, x), x from the least to the largest input that is usual in any of the layers;
    NaN beyond what is usual in the layer itself, and where a layer has fewer units.
    Raises: NothingRecorded when no module of the model is an activation, or none was run.
    """
    arrived: dict[str, Tensor] = {}
    layers = {name: module for name, module in model.named_modules() if elementwise(module)}
    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: arrived.setdefault(name, given[0].detach()))
        for name, module in layers.items()
    ]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            model(batch[0])
            for hook in hooks:
                hook.remove()
            return _drawn({name: layers[name] for name in arrived}, arrived)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def elementwise(module: nn.Module) -> bool:
    """Whether a module is an activation function: one value in, one value out, whatever stands beside it."""
    kind = type(module)
    ours = kind.__module__ == activation.__name__ and kind.__name__ not in MIXING
    return ours or getattr(kind, "elementwise", False) is True


def _drawn(layers: dict[str, nn.Module], arrived: dict[str, Tensor]) -> xr.DataArray:
    if not layers:
        raise NothingRecorded(
            "No activation was run: none of the model's modules works value by value, or none was called."
        )
    usual = {name: _range(values) for name, values in arrived.items()}
    x = np.linspace(min(low for low, _ in usual.values()), max(high for _, high in usual.values()), POINTS)
    units = max(values.shape[-1] for values in arrived.values())
    table = np.full((len(layers), units, POINTS), np.nan, dtype=np.float32)
    for row, (name, layer) in zip(table, layers.items(), strict=True):
        given = torch.as_tensor(x).to(arrived[name]).unsqueeze(-1).expand(-1, arrived[name].shape[-1])
        row[: given.shape[-1]] = layer(given.contiguous()).T.float().cpu().numpy()
        low, high = usual[name]
        row[:, (x < low) | (x > high)] = np.nan
    return xr.DataArray(
        table,
        dims=("layer", "unit", "x"),
        coords={
            "layer": list(layers),
            "unit": np.arange(units),
            "x": ("x", x, {"long_name": "before the activation"}),
        },
        name="activation_curve",
        attrs={"long_name": "after the activation", "units": ""},
    )


def _range(values: Tensor) -> tuple[float, float]:
    low, high = np.quantile(values.float().cpu().numpy(), [0.01, 0.99])
    return float(low), float(high)


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
