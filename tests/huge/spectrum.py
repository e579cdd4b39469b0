"""As much data as anybody will give to the view `spectrum`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    steep = np.random.default_rng(0).uniform(0.2, 2, (300, 1))
    shares = np.arange(1, 4097) ** -steep
    shares /= shares.sum(1, keepdims=True)
    coords = {"layer": [f"layers.{at}" for at in range(300)], "effective_rank": ("layer", 1 / (shares**2).sum(1))}
    return {"data": xr.DataArray(shares, dims=("layer", "component"), coords=coords)}
