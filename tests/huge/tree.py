"""As much data as anybody will give to the view `tree`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    entropy = random.random((200, 2**13 - 1))
    load = random.dirichlet(np.full(2**13, 0.2), 200)
    return {"entropy": array(entropy, dims=("step", "node")), "load": array(load, dims=("step", "choice"))}
