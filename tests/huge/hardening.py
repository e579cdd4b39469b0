"""As much data as anybody will give to the view `hardening`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    accuracy = random.random((100_000, 2, 8))
    margin = random.random((5_000, 2_000)) / 2_000
    return {
        "accuracy": array(
            accuracy,
            dims=("step", "mode", "seed"),
            coords={"mode": ["soft", "hard"], "step": np.arange(100_000)},
        ),
        "margin": array(
            margin,
            dims=("step", "bin"),
            coords={"step": np.arange(5_000) * 20, "bin": np.linspace(0, 9, 2_000)},
        ),
    }
