"""As much data as anybody will give to the view `balance`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    loss = 1 + random.gamma(0.5, size=(5000, 129, 2)).cumsum(0) / 5000
    loss[..., 1] = 1
    layers = [*(f"model.layers.{place}.mlp.gate" for place in range(128)), "all layers pooled"]
    coords = {"layer": layers, "step": np.arange(5000) * 100, "quantity": ["auxiliary loss", "loss if even"]}
    return {"data": xr.DataArray(loss, dims=("step", "layer", "quantity"), coords=coords)}
