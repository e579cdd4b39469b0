"""As much data as anybody will give to the view `similarity`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    values = np.random.default_rng(0).random((100, 300, 250)).astype(np.float32)
    names = [f"model.layers.{at}.mlp" for at in range(300)]
    coords = {"layer": names, "other": names[:250]}
    return {"data": xr.DataArray(values, dims=("step", "layer", "other"), coords=coords)}
