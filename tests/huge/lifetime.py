"""As much data as anybody will give to the view `lifetime`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    values = np.random.default_rng(0).beta(2, 5, (400, 4096)).astype(np.float32)
    return {
        "data": xr.DataArray(values, dims=("layer", "unit"), coords={"layer": [f"layers.{at}" for at in range(400)]})
    }
