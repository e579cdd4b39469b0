"""As much data as anybody will give to the view `unit_map`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    values = random.exponential(size=(40, 400, 4096)).astype(np.float32)
    return {"data": xr.DataArray(values, dims=("step", "layer", "unit"))}
