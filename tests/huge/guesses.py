"""A class as large as a lecture hall, and a run that recorded every step."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    steps, places = np.arange(100_000), np.linspace(0, 100_000, 2000)
    guess = random.random((1, 2000), np.float32) + random.random((600, 1), np.float32)
    truth = random.random((20, 100_000), np.float32)
    return {
        "guess": xr.DataArray(guess, dims=("guess", "step"), coords={"step": places}),
        "truth": xr.DataArray(truth, dims=("seed", "step"), coords={"step": steps}),
    }
