"""As much data as anybody will give to the view `crossover`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    ratio = np.random.default_rng(0).lognormal(0, 2, (300, 400))
    dims = ("batch", "width")
    tables = dict.fromkeys(("low", "high", "ours", "dense"), (dims, ratio))
    coords = {"batch": np.arange(1, 301), "width": np.arange(1, 401) * 1000, **tables}
    return {"data": xr.DataArray(ratio, dims=dims, coords=coords)}
