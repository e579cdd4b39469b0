"""As much data as anybody will give to the view `flips`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    shares = random.random((5000, 128)) * np.linspace(1, 0.05, 5000)[:, None]
    layers = [f"model.layers.{place}.mlp.gate" for place in range(128)]
    coords = {"layer": layers, "step": np.arange(5000) * 100}
    return {"data": xr.DataArray(shares, dims=("step", "layer"), coords=coords)}
