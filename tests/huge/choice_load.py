"""As much data as anybody will give to the view `choice_load`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    load = random.gamma(0.3, size=(500, 48, 256)).astype(np.float32)
    load[200:, :, ::7] = 0
    load /= load.sum(-1, keepdims=True)
    layers = [f"model.layers.{place}.mlp.gate" for place in range(48)]
    coords = {"layer": layers, "step": np.arange(500) * 1000}
    return {"load": xr.DataArray(load, dims=("step", "layer", "choice"), coords=coords)}
