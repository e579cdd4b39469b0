"""As much data as anybody will give to the view `speed_board`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    times = np.sort(random.lognormal(-8, 2, (400, 20, 3)), -1)
    coords = {
        "setting": [f"depth {place}, leaf width 4,096, experts 1,024, batch 65,536" for place in range(400)],
        "contestant": [f"a package with a long name|way {place}" for place in range(20)],
        "quantile": [0.25, 0.5, 0.75],
        "floor": ("setting", times[:, 0, 0] / 2),
    }
    return {"data": xr.DataArray(times, dims=("setting", "contestant", "quantile"), coords=coords)}
