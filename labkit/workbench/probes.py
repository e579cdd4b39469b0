"""What studies measure while they train: accuracies soft and hard, losses, and any analysis on the task's test data."""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.parts.relaxation import softened
from labkit.recording.record import NothingRecorded

MODES = ["soft", "hard"]


def score(quantity: str, part: str = "test") -> Callable[[nn.Module, object], xr.DataArray]:
    """A probe of the task's "accuracy" or "loss" on its "test" or "train" part: (mode), soft and hard.

    For a model with nothing to harden the two are the same number.
    """

    def probe(model: nn.Module, task) -> xr.DataArray:
        x, target = getattr(task, part)()
        training = model.training
        model.eval()
        relaxed = any(getattr(module, "relaxed", False) for module in model.modules())
        with torch.no_grad():
            hard = float(getattr(task, quantity)(model(x), target))
            soft = hard
            if relaxed:
                with softened(model):
                    soft = float(getattr(task, quantity)(model(x), target))
        model.train(training)
        units = "fraction" if quantity == "accuracy" else getattr(task, "unit", "nats")
        return xr.DataArray(
            np.array([soft, hard]),
            dims="mode",
            coords={"mode": MODES},
            attrs={"long_name": f"{part} {quantity}", "units": units},
        )

    return probe


def on_test_data(analysis: Callable) -> Callable[[nn.Module, object], xr.DataArray | None]:
    """An analysis as a probe on the task's test inputs and labels. None where the model has nothing for it to see."""

    def probe(model: nn.Module, task) -> xr.DataArray | None:
        try:
            found = analysis(model, task.probe())
        except NothingRecorded:
            return None
        if "class" in found.dims:
            found = found.assign_coords({"class": list(task.labels)[: found.sizes["class"]]})
        return found.assign_coords(layer=[_place(str(name)) for name in found.layer.values])

    return probe


def _place(name: str) -> str:
    """The layer that a gate belongs to: its decisions and its choices are then found under one name."""
    return name.removesuffix(".decisions").removesuffix(".gate")
