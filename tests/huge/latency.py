"""As much data as anybody will give to the view `latency`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    times = random.lognormal(-8, 0.3, (1, 12, 100_000)).astype(np.float32)
    scale = np.linspace(0.5, 2, 20, dtype=np.float32)[:, None, None]
    arms = [f"an arm with a long name, number {place}" for place in range(19)]
    coords = {"arm": ["dense", *arms], "width": 2 ** np.arange(4, 16)}
    return {"data": array(times * scale, dims=("arm", "width", "repeat"), coords=coords)}
