"""As much data as anybody will give to the view `forced_choice`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    coords = {"quantity": ["loss", "output"], "taken": ("choice", np.arange(256) == 77)}
    values = np.stack([random.normal(1, 1, 256), random.random(256)], 1)
    attrs = {"layer": "model.layers.31.block_sparse_moe.gate", "token": 4000}
    return {"change": xr.DataArray(values, dims=("choice", "quantity"), coords=coords, attrs=attrs)}
