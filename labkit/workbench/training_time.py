"""How long a training step takes: of several models side by side, by the processor's time for this thread."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn


def training_time(
    models: Mapping[str, nn.Module], trainer: Callable[[], Any], task: Any, *, repeats: int = 10
) -> xr.DataArray:
    """Seconds of a training step, each repeat one step of every model in shuffled order, after warming: (arm, repeat)."""
    order, names, batch = np.random.default_rng(0), list(models), next(task.batches(0))
    trainers, seconds = {name: trainer() for name in names}, np.empty((len(names), repeats))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in names:
            trainers[name].start(models[name], task, repeats + 1)
            trainers[name].step(models[name], batch)
        for repeat in range(repeats):
            for place in order.permutation(len(names)):
                begun = time.thread_time()
                trainers[names[place]].step(models[names[place]], batch)
                seconds[place, repeat] = time.thread_time() - begun
    finally:
        torch.set_num_threads(threads)
    return xr.DataArray(
        seconds,
        dims=("arm", "repeat"),
        coords={"arm": names, "repeat": np.arange(repeats)},
        name="training_time",
        attrs={"long_name": "time of a training step", "units": "s"},
    )
