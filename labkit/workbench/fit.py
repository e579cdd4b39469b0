"""The training loop, the same for every trainer and every study: step, now and then measure, listen for a stop."""

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.errors import LabError

Probe = Callable[[nn.Module, Any], xr.DataArray | None]
Watch = Callable[[int, dict[str, float]], None]


class Stopped(LabError):
    """Training was stopped from outside before its last step."""


def evenly(steps: int, measurements: int) -> list[int]:
    """Steps at which to measure: 0, the last one, and more of them early, where most happens."""
    places = (np.linspace(0, 1, measurements) ** 1.5 * steps).round().astype(int)
    return sorted({int(place) for place in places})


def fit(
    model: nn.Module,
    task,
    trainer,
    *,
    steps: int,
    seed: int = 0,
    measure_at: Iterable[int] = (),
    probes: Mapping[str, Probe] | None = None,
    watch: Watch | None = None,
    stop: Event | None = None,
) -> xr.Dataset:
    """Train for `steps` batches and return what the probes measured, along an axis `step`.

    The training loss is averaged since the previous measurement; `training_seconds` is the processor time of this thread
    that the steps took, without what measures. `watch(step, values)` is called after every step
    with the trainer's numbers and, at measurements, what the probes say in one number (hard, where there are two modes).
    Raises: Stopped when `stop` is set; LabError when the loss is no longer a number.
    """
    torch.manual_seed(seed)
    measure, batches = set(measure_at), task.batches(seed)
    trainer.start(model, task, steps)
    rows: list[xr.Dataset] = []
    losses: list[float] = []
    seconds = 0.0
    for step in range(steps + 1):
        if stop is not None and stop.is_set():
            raise Stopped(f"Stopped at step {step} of {steps}; nothing was saved.")
        values = {}
        if step:
            batch, began = next(batches), time.thread_time()
            values = trainer.step(model, batch)
            seconds += time.thread_time() - began
            losses.append(values["training_loss"])
            if not np.isfinite(losses[-1]):
                raise LabError(f"The loss is no longer a number at step {step}: lower the learning rate.")
        if step in measure:
            row = measure_all(model, task, probes or {})
            row["training_loss"] = xr.DataArray(
                np.mean(losses) if losses else np.nan, attrs=LOSS | {"units": getattr(task, "unit", "nats")}
            )
            row["training_seconds"] = xr.DataArray(seconds, attrs=SECONDS)
            rows.append(row.expand_dims(step=[step]))
            losses = []
            now = row.sel(mode="hard") if "mode" in row.dims else row
            values |= {str(name): float(one) for name, one in now.items() if one.ndim == 0}
        if watch is not None:
            watch(step, values)
    return xr.concat(rows, "step") if rows else xr.Dataset()


LOSS = {"long_name": "training loss", "units": "nats"}
SECONDS = {"long_name": "processor time of training", "units": "s"}


def measure_all(model: nn.Module, task, probes: Mapping[str, Probe]) -> xr.Dataset:
    """Run every probe without disturbing the training: its random numbers go on as if nobody had looked.

    A probe that has nothing to see in this model answers None and leaves no variable.
    Raises: LabError where two measurements mean different things by one axis.
    """
    state = torch.get_rng_state()
    seen = {name: probe(model, task) for name, probe in probes.items()}
    torch.set_rng_state(state)
    found = {name: one for name, one in seen.items() if one is not None}
    _require_one_meaning(found)
    return xr.Dataset(found)


def _require_one_meaning(found: Mapping[str, xr.DataArray]) -> None:
    """Raise a LabError where an axis has numbers in one measurement and words in another: put together they would be neither."""
    known: dict[str, tuple[str, bool]] = {}
    for name, one in found.items():
        for axis in (str(dim) for dim in one.dims if dim in one.coords):
            words = one[axis].dtype.kind in "OUS"
            first, spoke = known.setdefault(axis, (name, words))
            if words != spoke:
                raise LabError(
                    f"The measurements {first} and {name} share the axis {axis!r}, with numbers in one and words in the other: "
                    "call it by another name in one of them."
                )
