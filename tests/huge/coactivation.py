"""As much data as anybody will give to the view `coactivation`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    group = np.sort(random.integers(0, 40, 4096))
    values = random.normal(size=(4096, 4096)).astype(np.float32) + (group[:, None] == group)
    return {"data": xr.DataArray(values, dims=("unit", "other"), coords={"cluster": ("unit", group)})}
