"""As much data as anybody will give to the view `show`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    return {"data": array(random.normal(size=(500, 64, 1024)).astype(np.float32), dims=("step", "expert", "token"))}
