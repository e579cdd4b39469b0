"""As much data as anybody will give to the view `curves`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    walk = random.normal(size=(1, 32, 1_000_000)).astype(np.float32).cumsum(-1)
    arms = [f"an arm with a long name, and more words to it, number {place}" for place in range(8)]
    data = array(np.broadcast_to(walk, (8, 32, 1_000_000)), dims=("arm", "seed", "step"), coords={"arm": arms})
    return {"data": data}
