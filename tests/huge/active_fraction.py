"""As much data as anybody will give to the view `active_fraction`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    values = random.random((50, 128, 2048), dtype=np.float32)
    coords = {"threshold": np.linspace(0, 2, 50), "text": ("token", [f" word{at}" for at in range(2048)])}
    return {"data": xr.DataArray(values, dims=("threshold", "layer", "token"), coords=coords)}
