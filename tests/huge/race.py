"""As many arms and seeds as anybody will race."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    coords = {"arm": [f"an arm with a long name, and more words, number {place}" for place in range(36)]}
    coords["seed"] = list(range(1000))
    loss = xr.DataArray(random.normal(2, 0.1, (36, 1000)), dims=("arm", "seed"), coords=coords)
    kinds = ["parameters", "operations an input", "seconds of training", "bytes", "joules"]
    cost = xr.DataArray(
        random.lognormal(3, 2, (5, 36, 1000)), dims=("cost", "arm", "seed"), coords={"cost": kinds, **coords}
    )
    return {"loss": loss, "cost": cost}
