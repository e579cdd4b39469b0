"""As much data as anybody will give to the view `unit_text`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    coords = {"text": ("token", [f" token{at}" for at in range(200_000)])}
    return {
        "activity": xr.DataArray(random.normal(size=200_000), dims="token", coords=coords),
        "places": 99,
        "around": 999,
    }
