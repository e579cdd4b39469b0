"""As much data as anybody will give to the view `slot_usage`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    load = random.pareto(1.1, size=(24, 1_000_000)).astype(np.float32)
    load[:, ::3] = 0
    load /= load.sum(1, keepdims=True)
    layers = [f"encoder.layers.{place}.memory" for place in range(24)]
    told = random.random((24, 3))
    quantities = ["used share", "KL from uniform", "collisions"]
    return {
        "load": xr.DataArray(load, dims=("layer", "choice"), coords={"layer": layers}),
        "quantities": xr.DataArray(told, dims=("layer", "quantity"), coords={"layer": layers, "quantity": quantities}),
    }
