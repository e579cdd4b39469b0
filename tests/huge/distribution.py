"""As much data as anybody will give to the view `distribution`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(256), (300, 100)).astype(np.float32)
    places = {
        "centre": (("layer", "bin"), np.tile(np.linspace(-3, 9, 256), (100, 1))),
        "width": ("layer", np.ones(100)),
    }
    return {"data": xr.DataArray(shares, dims=("step", "layer", "bin"), coords=places)}
