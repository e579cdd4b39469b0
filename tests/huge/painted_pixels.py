"""As much data as anybody will give to the view `painted_pixels`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 255, (40, 448, 448), dtype=np.uint8)
    maps = random.normal(size=(40, 224, 224)).astype(np.float32)
    return {
        name: xr.DataArray(one, dims=("input", "rows", "columns"))
        for name, one in (("images", pictures), ("maps", maps))
    }
