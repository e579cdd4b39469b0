"""As much data as anybody will give to the view `certainty`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    layers = [f"model.layers.{place}.mlp.gate" for place in range(128)]
    shares = random.dirichlet(np.full(200, 0.3), (300, 128))
    coords = {"layer": layers, "step": np.arange(300) * 100, "bin": (np.arange(200) + 0.5) / 200}
    margin = xr.DataArray(shares, dims=("step", "layer", "bin"), coords=coords)
    entropy = xr.DataArray(random.random((128, 8192)) * 7, dims=("layer", "token"), coords={"layer": layers})
    return {"margin": margin, "entropy": entropy}
