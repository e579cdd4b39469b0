"""As much data as anybody will give to the view `tradeoff`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    density = xr.DataArray(
        random.dirichlet(np.ones(4096)), dims="bin", coords={"centre": ("bin", np.linspace(-5, 9, 4096))}
    )
    quantities = ["active fraction", "loss", "accuracy", "milliseconds", "dense milliseconds"]
    coords = {"method": [f"method {at}" for at in range(9)], "level": np.linspace(0, 1, 300), "quantity": quantities}
    values = random.random((9, 300, 5))
    return {"density": density, "tradeoff": xr.DataArray(values, dims=("method", "level", "quantity"), coords=coords)}
