"""As much data as anybody will give to the view `usage`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    shares = random.dirichlet(np.full(4096 * 1000, 0.1)).reshape(4096, 1000)
    classes = [f"a class with a long name {place}" for place in range(1000)]
    return {"by_class": array(shares, dims=("choice", "class"), coords={"class": classes})}
