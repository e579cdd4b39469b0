"""As much data as anybody will give to the view `heatmap`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    return {"data": array(random.normal(size=(4096, 8192)).astype(np.float32), dims=("input", "unit"))}
