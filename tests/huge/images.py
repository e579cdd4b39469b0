"""As much data as anybody will give to the view `images`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    pictures = array(random.integers(0, 255, (1000, 64, 64), dtype=np.uint8), dims=("n", "rows", "columns"))
    return {"left": pictures[:400], "right": pictures[400:]}
